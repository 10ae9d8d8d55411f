{{ config(
    materialized='incremental',
    incremental_predicates=[is_touched_session_date()],
    pre_hook="{{ remember_previous('ops.previous_session_properties', this, is_touched_session_date()) }}",
) }}

-- depends_on: {{ ref('int_touched_session_dates') }} {{ ref('stg_ga4__custom_parameters') }} {{ ref('int_ordered_events') }}
{% set custom = var('custom') %}
{% if custom_columns('fct_sessions') %}
    with events as (
        select
            events.session_id,
            events.session_date,
            events.event_number,
            {% for event in custom.key_events %}
                events.event_name = {{ text_literal(event.event) }} as {{ adapter.quote('has_' ~ event.name) }},
                {% if event.value is not none %}
                    case when events.event_name = {{ text_literal(event.event) }} then {{ key_event_value(event) }} end
                        as {{ adapter.quote(event.name ~ '_value_usd') }},
                {% endif %}
            {% endfor %}
            parameters.*
        from {{ session_events() }} as events
        left join {{ ref('stg_ga4__custom_parameters') }} as parameters on events.event_key = parameters.event_key
        where
            parameters.event_key is not null
            {% if custom.key_events %}
                or events.event_name in ({{ quoted_texts(custom.key_events | map(attribute='event')) }})
            {% endif %}
    )

    select
        session_id,
        session_date
        {%- for property in custom.session_properties -%}
            ,
            {{ taken_value(property) }} as {{ adapter.quote(property.name) }}
        {%- endfor -%}
        {%- for name in custom.user_properties -%}
            ,
            {{ taken_value({'of': name, 'take': 'last'}) }} as {{ adapter.quote(name) }}
        {%- endfor -%}
        {%- for event in custom.key_events -%}
            ,
            {{ key_event_totals(event) }}
        {%- endfor %}
    from events
    group by session_id, session_date
{% else %}
    select
        session_id,
        session_date
    from {{ ref('int_event_order') }}
    where false
{% endif %}
