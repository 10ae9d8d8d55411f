{{ config(
    materialized='incremental',
    incremental_predicates=[is_touched_event_date()],
) }}

select
    cast(lake_day as date) as event_date,
    lake_file,
    lake_row,
    {{ quarantine_reason() }} as reason,
    event_date as exported_event_date,
    event_timestamp as exported_event_timestamp,
    event_name as exported_event_name,
    user_pseudo_id
from {{ ref('base_ga4__events') }}
where
    {{ quarantine_reason() }} is not null
    {% if is_incremental() %}
        and lake_day in ({{ touched_lake_days() }})
    {% endif %}
