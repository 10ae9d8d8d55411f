{{ config(
    materialized='incremental',
    incremental_predicates=[is_touched_session_event_date()],
    pre_hook="{{ remember_previous('ops.previously_touched_sessions', this, is_touched_session_event_date()) }}",
) }}

-- depends_on: {{ ref('int_touched_event_dates') }}
select distinct
    event_date,
    session_key as session_id
from {{ ref('int_events') }}
where
    session_key is not null
    {% if is_incremental() %}
        and {{ is_touched_session_event_date() }}
    {% endif %}
