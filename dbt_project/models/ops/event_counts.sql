{{ config(
    materialized='incremental',
    incremental_predicates=[is_touched_event_date()],
) }}

with raw_rows as (
    select
        cast(lake_day as date) as event_date,
        count(*) as raw_rows
    from {{ ref('base_ga4__events') }}
    {% if is_incremental() %}
        where lake_day in ({{ touched_lake_days() }})
    {% endif %}
    group by lake_day
),

quarantined as (
    select
        event_date,
        count(*) as quarantined_rows
    from {{ ref('quarantined_events') }}
    group by event_date
),

parsed as (
    select
        event_date,
        {{ count_where("exclusion_reason = 'synthetic'") }} as synthetic_rows,
        {{ count_where("exclusion_reason = 'internal'") }} as internal_rows
    from {{ ref('stg_ga4__events_parsed') }}
    {% if is_incremental() %}
        where {{ is_touched_event_date() }}
    {% endif %}
    group by event_date
),

duplicates as (
    select
        event_date,
        count(*) as duplicate_rows
    from {{ ref('stg_ga4__event_duplicates') }}
    group by event_date
),

staged as (
    select
        event_date,
        count(*) as staged_rows,
        {{ count_where('user_pseudo_id is null') }} as cookieless_rows
    from {{ ref('stg_ga4__events') }}
    {% if is_incremental() %}
        where {{ is_touched_event_date() }}
    {% endif %}
    group by event_date
)

select
    ledger.event_date,
    coalesce(raw_rows.raw_rows, 0) as raw_rows,
    coalesce(quarantined.quarantined_rows, 0) as quarantined_rows,
    coalesce(duplicates.duplicate_rows, 0) as duplicate_rows,
    coalesce(parsed.synthetic_rows, 0) as synthetic_rows,
    coalesce(parsed.internal_rows, 0) as internal_rows,
    coalesce(staged.staged_rows, 0) as staged_rows,
    coalesce(staged.cookieless_rows, 0) as cookieless_rows
from {{ source('ops', 'ingest_ledger') }} as ledger
left join raw_rows on ledger.event_date = raw_rows.event_date
left join quarantined on ledger.event_date = quarantined.event_date
left join parsed on ledger.event_date = parsed.event_date
left join duplicates on ledger.event_date = duplicates.event_date
left join staged on ledger.event_date = staged.event_date
{% if is_incremental() %}
    where {{ is_touched_event_date('ledger.event_date') }}
{% endif %}
