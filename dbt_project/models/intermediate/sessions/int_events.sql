{{ config(materialized='view') }}

select
    events.*,
    coalesce(inferred.session_id, events.session_id) as session_key
from {{ ref('stg_ga4__events') }} as events
left join {{ ref('int_inferred_sessions') }} as inferred on events.event_key = inferred.event_key
