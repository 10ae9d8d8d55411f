{{ config(
    materialized='incremental',
    incremental_predicates=[is_touched_kpi_date()],
    on_schema_change='fail',
) }}

-- depends_on: {{ ref('int_touched_kpi_dates') }}
with events as (
    select
        event_date,
        {% for kind in consent_kinds() -%}
            {{ count_where('has_' ~ kind ~ '_consent') }} as {{ kind }}_granted,
            {{ count_where('not has_' ~ kind ~ '_consent') }} as {{ kind }}_denied,
        {% endfor -%}
        {{ count_where('user_pseudo_id is null') }} as cookieless_events,
        count(*) as events
    from {{ ref('stg_ga4__events') }}
    {% if is_incremental() %}
        where {{ is_touched_kpi_date('event_date') }}
    {% endif %}
    group by event_date
),

sessions as (
    select
        session_date,
        {% for kind in consent_kinds() -%}
            {{ count_where('has_' ~ kind ~ '_consent') }} as {{ kind }}_granted,
            {{ count_where('not has_' ~ kind ~ '_consent') }} as {{ kind }}_denied,
        {% endfor -%}
        count(*) as sessions
    from {{ ref('int_session_facts') }}
    {% if is_incremental() %}
        where {{ is_touched_kpi_date('session_date') }}
    {% endif %}
    group by session_date
)

select
    days.kpi_date,
    days.is_provisional,
    coalesce(events.events, 0) as events,
    coalesce(events.cookieless_events, 0) as cookieless_events,
    {% for table in ['events', 'sessions'] -%}
        {% for kind in consent_kinds() -%}
            coalesce({{ table }}.{{ kind }}_granted, 0) as {{ kind }}_granted_{{ table }},
            coalesce({{ table }}.{{ kind }}_denied, 0) as {{ kind }}_denied_{{ table }},
            coalesce({{ table }}.{{ table }} - {{ table }}.{{ kind }}_granted - {{ table }}.{{ kind }}_denied, 0)
                as {{ kind }}_unknown_{{ table }},
            {{ safe_divide(
                table ~ '.' ~ kind ~ '_granted',
                table ~ '.' ~ kind ~ '_granted + ' ~ table ~ '.' ~ kind ~ '_denied'
            ) }} as {{ kind }}_{{ table[:-1] }}_consent_rate,
        {% endfor -%}
    {% endfor -%}
    {{ safe_divide('events.cookieless_events', 'events.events') }} as cookieless_event_rate,
    coalesce(sessions.sessions, 0) as sessions
from {{ ref('int_days') }} as days
left join events on days.kpi_date = events.event_date
left join sessions on days.kpi_date = sessions.session_date
{% if is_incremental() %}
    where {{ is_touched_kpi_date('days.kpi_date') }}
{% endif %}
