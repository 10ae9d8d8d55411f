{{ config(
    materialized='incremental',
    incremental_predicates=[is_touched_inferred_user()],
    pre_hook="{{ remember_previous(
        'ops.previous_inferred_sessions', this,
        is_touched_inferred_user()
    ) }}",
) }}

-- Whose session an event is where its own id does not tell. An event without a ga_session_id belongs to the session
-- that runs on its device and stream at that time; where none does, such events are sessions of their own, from gap to
-- gap (rules 4 and 28). But an order makes no session, nor, where the device has ids otherwise, does what no page or
-- screen has sent: a server did (rule 29). Under an id that is sent over and over, a long gap ends a session (rule 31).
with events as (
    select
        events.event_key,
        events.event_date,
        events.stream_id,
        events.user_pseudo_id,
        events.session_id as own_session_id,
        events.event_timestamp,
        events.batch_page_id,
        events.batch_ordering_id,
        events.batch_event_index,
        events.is_entrance,
        events.event_hash,
        events.is_background,
        {{ is_sent_by_a_visitor('events.event_name', 'events.page_path') }} as is_by_visitor,
        events.event_name in ('purchase', 'in_app_purchase') as is_order
    from {{ ref('stg_ga4__events') }} as events
    inner join {{ ref('int_touched_inferred_users') }} as users on events.user_pseudo_id = users.user_pseudo_id
    where events.session_id is not null or not events.is_background
),

gaps as (
    select
        *,
        max(case when not is_background then event_timestamp end) over (
            partition by own_session_id order by {{ event_order() }}
            rows between unbounded preceding and 1 preceding
        ) as previous_timestamp
    from events
    where own_session_id is not null
),

part_starts as (
    select
        *,
        case
            when
                not is_background
                and (previous_timestamp is null or event_timestamp - previous_timestamp > {{ longest_gap_micros() }})
                then event_timestamp
        end as part_started
    from gaps
),

parts as (
    select
        *,
        min(part_started) over (partition by own_session_id) as session_started,
        max(part_started) over (partition by own_session_id) as last_part_started,
        max(part_started) over (
            partition by own_session_id order by {{ event_order() }}
            rows between unbounded preceding and current row
        ) as current_part_started
    from part_starts
),

identified as (
    select
        *,
        last_part_started > session_started as is_cut,
        own_session_id || case
            when current_part_started > session_started then '|from-' || cast(current_part_started as string) else ''
        end as session_id
    from parts
),

timeline as (
    select
        events.*,
        identified.session_id
    from events
    left join identified on events.event_key = identified.event_key
    where not events.is_background
),

placed as (
    select
        *,
        row_number() over in_order as place,
        case
            when
                event_timestamp - lag(event_timestamp) over in_order
                < {{ var('session_timeout_minutes') * 60 * 1000000 }}
                then null
            else event_timestamp
        end as run_started
    from timeline
    window in_order as (partition by stream_id, user_pseudo_id order by {{ event_order() }})
),

runs as (
    select
        *,
        max(run_started) over (
            partition by stream_id, user_pseudo_id order by place rows between unbounded preceding and current row
        ) as run_micros
    from placed
),

neighbours as (
    select
        *,
        {{ latest_in_order(
            'case when session_id is not null then ' ~ row_of(['session_id', 'run_micros']) ~ ' end',
            'stream_id, user_pseudo_id', 'place'
        ) }} as session_before,
        {{ latest_in_order(
            'case when session_id is not null then ' ~ row_of(['session_id', 'run_micros']) ~ ' end',
            'stream_id, user_pseudo_id', 'place desc'
        ) }} as session_after,
        max(session_id) over (partition by stream_id, user_pseudo_id) is not null as has_ids
    from runs
),

inferred as (
    select
        event_key,
        event_date,
        user_pseudo_id,
        case
            when {{ row_field('session_before', 'run_micros') }} = run_micros
                then {{ row_field('session_before', 'session_id') }}
            when {{ row_field('session_after', 'run_micros') }} = run_micros
                then {{ row_field('session_after', 'session_id') }}
            -- the property's own timeout may be longer
            when {{ row_field('session_before', 'session_id') }} = {{ row_field('session_after', 'session_id') }}
                then {{ row_field('session_before', 'session_id') }}
            when
                {{ any_true("not is_order and (is_by_visitor or not has_ids)") }} over (
                    partition by stream_id, user_pseudo_id, run_micros
                )
                then stream_id || '|' || user_pseudo_id || '|run-' || cast(run_micros as string)
        end as session_id
    from neighbours
    where session_id is null
)

select
    event_key,
    event_date,
    user_pseudo_id,
    cast(null as string) as own_session_id,
    session_id,
    false as is_background
from inferred
where session_id is not null
union all
select
    event_key,
    event_date,
    user_pseudo_id,
    own_session_id,
    session_id,
    is_background
from identified
where is_cut
