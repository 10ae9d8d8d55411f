{{ config(
    materialized='incremental',
    incremental_predicates=[is_touched_gap_user()],
    pre_hook="{{ remember_previous(
        'ops.previous_gap_session_events', this,
        is_touched_gap_user()
    ) }}",
) }}

-- depends_on: {{ ref('int_touched_gap_users') }}
-- Apps and custom loaders send no ga_session_id: there, a session is a run of events with gaps under 30 minutes.
with events as (
    select
        event_key,
        event_date,
        stream_id,
        user_pseudo_id,
        event_timestamp,
        batch_page_id,
        batch_ordering_id,
        batch_event_index,
        is_entrance,
        event_hash,
        lag(event_timestamp) over (
            partition by stream_id, user_pseudo_id order by {{ event_order() }}
        ) as previous_event_timestamp
    from {{ ref('stg_ga4__events') }}
    where
        session_id is null
        and user_pseudo_id is not null
        {% if is_incremental() %}
            and {{ is_touched_gap_user() }}
        {% endif %}
),

run_starts as (
    select
        *,
        case
            when
                previous_event_timestamp is null
                or event_timestamp - previous_event_timestamp >= {{ var('session_timeout_minutes') }} * 60 * 1000000
                then event_timestamp
        end as run_started_micros
    from events
),

runs as (
    select
        *,
        max(run_started_micros) over (
            partition by stream_id, user_pseudo_id order by {{ event_order() }}
            rows between unbounded preceding and current row
        ) as session_started_micros
    from run_starts
)

select
    event_key,
    event_date,
    user_pseudo_id,
    stream_id || '|' || user_pseudo_id || '|run-' || cast(session_started_micros as varchar) as session_id
from runs
