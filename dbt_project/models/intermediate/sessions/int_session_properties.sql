{{ config(
    materialized='incremental',
    incremental_predicates=[is_touched_session_date()],
    pre_hook="{{ remember_previous('ops.previous_session_properties', this, is_touched_session_date()) }}",
) }}

-- depends_on: {{ ref('int_touched_session_dates') }} {{ ref('stg_ga4__custom_parameters') }}
-- depends_on: {{ ref('int_ordered_events') }}
{% if custom_columns('fct_sessions') %}
    with events as (
        select
            events.session_id,
            events.session_date,
            events.event_number,
            {{ key_events_of_events() }}
            parameters.*
        from {{ session_events() }} as events
        left join {{ ref('stg_ga4__custom_parameters') }} as parameters on events.event_key = parameters.event_key
        where parameters.event_key is not null or {{ is_key_event('events.event_name') }}
    )

    select
        session_id,
        session_date
        {{- session_property_columns() }}
    from events
    group by session_id, session_date
{% else %}
    select
        session_id,
        session_date
    from {{ ref('int_event_order') }}
    where false
{% endif %}
