{{ config(materialized='view') }}

select
    events.*,
    coalesce(events.session_id, runs.session_id) as session_key
from {{ ref('stg_ga4__events') }} as events
left join {{ ref('int_gap_session_events') }} as runs
    on
        events.event_date = runs.event_date
        and events.lake_file = runs.lake_file
        and events.lake_row = runs.lake_row
