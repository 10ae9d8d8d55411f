{{ config(
    materialized='incremental',
    incremental_predicates=[is_touched_session_event_date()],
    pre_hook="{{ remember_previous('ops.previously_touched_sessions', this, is_touched_session_event_date()) }}",
) }}

-- depends_on: {{ ref('int_touched_event_dates') }}
with days as (
    select
        event_date,
        session_id,
        first_micros is not null as is_visit
    from {{ ref('int_session_spans') }}
    where
        session_id is not null
        and session_id not in (
            select own_session_id from {{ ref('int_inferred_sessions') }}
            where own_session_id is not null
        )
        {% if is_incremental() %}
            and {{ is_touched_session_event_date() }}
        {% endif %}
    union all
    select
        event_date,
        session_id,
        not is_background as is_visit
    from {{ ref('int_inferred_sessions') }}
    {% if is_incremental() %}
        where {{ is_touched_session_event_date() }}
    {% endif %}
)

select
    event_date,
    session_id,
    {{ any_true("is_visit") }} as is_visit
from days
group by event_date, session_id
