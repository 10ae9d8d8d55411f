{{ config(pre_hook="{{ remember_previous('ops.previous_days', this) }}") }}

with days as (
    select
        event_date as kpi_date,
        kind,
        {{ add_hours(property_midnight('event_date + 1'), var('complete_after_hours')) }} as complete_at
    from {{ source('ops', 'ingest_ledger') }}
)

select
    kpi_date,
    kind,
    -- null while there is no daily table
    case when kind = 'daily' then complete_at end as complete_at,
    -- the moment the build began, not the clock: all models of a build agree
    kind != 'daily' or (select as_of from {{ source('ops', 'build_info') }}) < complete_at as is_provisional
from days
