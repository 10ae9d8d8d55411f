-- One row per date that any of the tables knows; a date that one of them lacks counts as 0 there.
-- A session over midnight has one date, and its purchase may have the next: revenue in fct_sessions is dated by the
-- session, revenue in agg_kpis_daily by the purchase.
create table dates as
with counts as (
    select
        event_date as date_day,
        *
    from warehouse.ops.event_counts
),

ledger as (
    select
        event_date as date_day,
        row_count
    from warehouse.ops.ingest_ledger
),

staged as (
    select
        event_date as date_day,
        count(*) as row_count
    from warehouse.staging.stg_ga4__events
    group by event_date
),

quarantined as (
    select
        event_date as date_day,
        count(*) as row_count
    from warehouse.ops.quarantined_events
    group by event_date
),

kpis as (
    select
        kpi_date as date_day,
        *
    from warehouse.marts.agg_kpis_daily
),

sessions as (
    select
        session_date as date_day,
        count(*) as sessions,
        sum(revenue_usd) as revenue_usd
    from warehouse.marts.fct_sessions
    group by session_date
),

bought_in_sessions as (
    select
        fct_sessions.session_date as date_day,
        sum(fct_purchases.revenue_usd) as revenue_usd
    from warehouse.marts.fct_purchases
    inner join warehouse.marts.fct_sessions on fct_purchases.session_id = fct_sessions.session_id
    group by fct_sessions.session_date
),

bought as (
    select
        purchase_date as date_day,
        sum(revenue_usd) as revenue_usd
    from warehouse.marts.fct_purchases
    group by purchase_date
),

calendar as (
    select date_day from counts
    union
    select date_day from ledger
    union
    select date_day from staged
    union
    select date_day from quarantined
    union
    select date_day from kpis
    union
    select date_day from sessions
    union
    select date_day from bought
)

select
    cast(calendar.date_day as varchar) as subject,
    calendar.date_day,
    coalesce(counts.raw_rows, 0) - coalesce(ledger.row_count, 0) as raw_rows_off_ledger,
    coalesce(
        counts.raw_rows - counts.quarantined_rows - counts.duplicate_rows - counts.synthetic_rows
        - counts.internal_rows - counts.staged_rows, 0
    ) as raw_rows_off_counts,
    coalesce(staged.row_count, 0) - coalesce(counts.staged_rows, 0) as staged_rows_off_counts,
    coalesce(quarantined.row_count, 0) - coalesce(counts.quarantined_rows, 0) as quarantined_rows_off_counts,
    coalesce(kpis.sessions, 0) - coalesce(sessions.sessions, 0) as kpi_sessions_off,
    coalesce(sessions.revenue_usd, 0) - coalesce(bought_in_sessions.revenue_usd, 0) as session_revenue_off_usd,
    coalesce(kpis.revenue_usd, 0) - coalesce(bought.revenue_usd, 0) as kpi_revenue_off_usd,
    coalesce(kpis.sessions_with_purchase - kpis.sessions_with_begin_checkout, 0) as purchases_beyond_checkouts
from calendar
left join counts on calendar.date_day = counts.date_day
left join ledger on calendar.date_day = ledger.date_day
left join staged on calendar.date_day = staged.date_day
left join quarantined on calendar.date_day = quarantined.date_day
left join kpis on calendar.date_day = kpis.date_day
left join sessions on calendar.date_day = sessions.date_day
left join bought_in_sessions on calendar.date_day = bought_in_sessions.date_day
left join bought on calendar.date_day = bought.date_day;
