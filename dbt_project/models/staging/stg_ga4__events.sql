{{ config(materialized='view') }}

select
    parsed.*,
    {{ timestamp_from_micros('parsed.event_timestamp') }} as event_at
from {{ ref('stg_ga4__events_parsed') }} as parsed
left join {{ ref('stg_ga4__event_duplicates') }} as duplicates on parsed.event_key = duplicates.event_key
where
    parsed.exclusion_reason is null
    and duplicates.event_key is null
