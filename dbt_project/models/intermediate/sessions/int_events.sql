{{ config(materialized='view') }}

select
    events.*,
    coalesce(events.session_id, runs.session_id) as session_key
from {{ ref('stg_ga4__events') }} as events
left join {{ ref('int_gap_session_events') }} as runs on events.event_key = runs.event_key
