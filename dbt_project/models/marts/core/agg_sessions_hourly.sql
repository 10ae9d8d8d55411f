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
        {{ session_kpis() }},
        cast(sum(sessions.purchases) as bigint) as purchases,
        {{ sum_money('sessions.revenue_usd') }} as revenue_usd
    from {{ ref('fct_sessions') }} as sessions
    inner join days on sessions.session_date = days.kpi_date
    group by sessions.session_date, {{ hour_since('days.midnight', 'sessions.session_started_at') }}
)

select
    coalesce(hours.kpi_date, sessions.session_date) as kpi_date,
    coalesce(hours.hour_started_at, sessions.hour_started_at) as hour_started_at,
    {{ hour_of(in_property_zone('coalesce(hours.hour_started_at, sessions.hour_started_at)')) }} as hour_of_day,
    coalesce(sessions.sessions, 0) as sessions,
    coalesce(sessions.users, 0) as users,
    coalesce(sessions.engaged_sessions, 0) as engaged_sessions,
    coalesce(sessions.page_views, 0) as page_views,
    coalesce(sessions.sessions_with_add_to_cart, 0) as sessions_with_add_to_cart,
    coalesce(sessions.sessions_with_begin_checkout, 0) as sessions_with_begin_checkout,
    coalesce(sessions.sessions_with_purchase, 0) as sessions_with_purchase,
    sessions.conversion_rate,
    sessions.cart_abandonment_rate,
    sessions.avg_session_duration_seconds,
    coalesce(sessions.purchases, 0) as purchases,
    coalesce(sessions.revenue_usd, 0) as revenue_usd
from hours
-- a session whose clock disagrees with its exported date keeps a row of its own: hours add up to the day
full outer join sessions
    on
        hours.kpi_date = sessions.session_date
        and hours.hour_started_at = sessions.hour_started_at
