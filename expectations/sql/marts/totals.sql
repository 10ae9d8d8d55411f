-- One row of differences over everything.
create table totals as
with counted as (
    select coalesce(sum(staged_rows - cookieless_rows), 0) as identified
    from warehouse.ops.event_counts
),

in_sessions as (
    select
        coalesce(sum(event_count), 0) as events,
        coalesce(sum(revenue_usd), 0) as revenue_usd
    from warehouse.marts.fct_sessions
),

-- What no visit needs to have: events of the background, and what a server sent while nobody was there (rules 29, 30).
visitless as (
    select count(*) as events
    from warehouse.staging.stg_ga4__events as events
    left join warehouse.intermediate.int_inferred_sessions as inferred on events.event_key = inferred.event_key
    anti join warehouse.marts.fct_sessions
        on coalesce(inferred.session_id, events.session_id) = fct_sessions.session_id
    where
        events.user_pseudo_id is not null
        and (events.is_background or (events.session_id is null and inferred.session_id is null))
),

purchases as (
    select
        coalesce(sum(revenue_usd), 0) as revenue_usd,
        coalesce(sum(revenue_usd) filter (where session_id is not null), 0) as in_sessions_usd
    from warehouse.marts.fct_purchases
),

kpis as (
    select coalesce(sum(revenue_usd), 0) as revenue_usd
    from warehouse.marts.agg_kpis_daily
),

orphans as (
    select count(*) as purchases
    from warehouse.marts.fct_purchases
    anti join warehouse.marts.fct_sessions on fct_purchases.session_id = fct_sessions.session_id
    where fct_purchases.session_id is not null
),

age as (
    select
        datediff(
            'day',
            (select max(event_date) from warehouse.ops.ingest_ledger),
            cast(timezone(getvariable('property_timezone'), timezone('UTC', as_of)) as date)
        ) as days
    from warehouse.ops.build_info
)

select
    'all dates' as subject,
    cast(counted.identified - visitless.events - in_sessions.events as bigint) as events_off_sessions,
    in_sessions.revenue_usd - purchases.in_sessions_usd as session_revenue_off_usd,
    kpis.revenue_usd - purchases.revenue_usd as kpi_revenue_off_usd,
    orphans.purchases as purchases_without_session,
    age.days as days_behind
from counted
cross join in_sessions
cross join visitless
cross join purchases
cross join kpis
cross join orphans
cross join age;
