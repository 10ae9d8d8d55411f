{{ config(pre_hook="{{ remember_previous('ops.previous_days', this) }}") }}

-- Every date that was exported, and whether GA4 can still rewrite it.
select
    event_date as kpi_date,
    kind,
    kind != 'daily'
    -- the moment the build began, not the clock: all models of a build agree
    or (select as_of from {{ source('ops', 'build_info') }})
    < {{ add_hours(property_midnight('event_date + 1'), var('complete_after_hours')) }} as is_provisional
from {{ source('ops', 'ingest_ledger') }}
