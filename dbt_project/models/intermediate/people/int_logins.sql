{{ config(
    materialized='incremental',
    incremental_predicates=[is_touched_event_date()],
) }}

select
    event_date,
    user_pseudo_id,
    user_id,
    max(event_timestamp) as last_event_timestamp
from {{ ref('stg_ga4__events') }}
where
    user_id is not null
    and user_pseudo_id is not null
    {% if is_incremental() %}
        and {{ is_touched_event_date() }}
    {% endif %}
group by event_date, user_pseudo_id, user_id
