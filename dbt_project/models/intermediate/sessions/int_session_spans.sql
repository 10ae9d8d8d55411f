{{ config(
    materialized='incremental',
    incremental_predicates=[is_touched_event_date()],
    pre_hook="{{ remember_previous(
        'ops.previous_session_spans', this, is_touched_event_date(), columns=['user_pseudo_id']
    ) }}",
) }}

-- When on a date something was done under a session id, and by whom without one; background events are nobody's doing.
select
    event_date,
    min(user_pseudo_id) as user_pseudo_id,
    session_id,
    min(case when not is_background then event_timestamp end) as first_micros,
    max(case when not is_background then event_timestamp end) as last_micros
from {{ ref('stg_ga4__events') }}
where
    user_pseudo_id is not null
    and (session_id is not null or not is_background)
    {% if is_incremental() %}
        and {{ is_touched_event_date() }}
    {% endif %}
-- a session id has its user in it
group by event_date, session_id, case when session_id is null then user_pseudo_id end
