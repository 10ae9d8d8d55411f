{{ config(
    materialized='incremental',
    incremental_predicates=[is_touched_kpi_date()],
    on_schema_change='fail',
) }}

-- depends_on: {{ ref('int_touched_kpi_dates') }}
-- Hours count from the property's midnight in real time: 23 or 25 of them on the days when the clocks change.
with days as (
    select
        kpi_date,
        {{ property_midnight('kpi_date') }} as midnight,
        {{ property_midnight('kpi_date + 1') }} as next_midnight
    from {{ ref('int_days') }}
    {% if is_incremental() %}
        where {{ is_touched_kpi_date() }}
    {% endif %}
),

hours as (
    select
        days.kpi_date,
        series.hour_started_at
    from days
    cross join {{ unnest_hours('days.midnight', 'days.next_midnight') }} as series (hour_started_at)
),

sessions as (
    select
        sessions.session_date,
        {{ hour_since('days.midnight', 'sessions.session_started_at') }} as hour_started_at,
        {{ measured_kpis('hourly') }}
    from {{ ref('int_session_facts') }} as sessions
    inner join days on sessions.session_date = days.kpi_date
    group by sessions.session_date, {{ hour_since('days.midnight', 'sessions.session_started_at') }}
)

select
    coalesce(hours.kpi_date, sessions.session_date) as kpi_date,
    coalesce(hours.hour_started_at, sessions.hour_started_at) as hour_started_at,
    {{ hour_of(in_property_zone('coalesce(hours.hour_started_at, sessions.hour_started_at)')) }} as hour_of_day,
    {{ joined_kpis('hourly', 'sessions') }}
from hours
-- a session whose clock disagrees with its exported date keeps a row of its own: hours add up to the day
full outer join sessions
    on
        hours.kpi_date = sessions.session_date
        and hours.hour_started_at = sessions.hour_started_at
