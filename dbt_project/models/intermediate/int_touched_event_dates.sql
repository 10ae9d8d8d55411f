-- A rewritten day can also move the sessions of events on other days, where sessions are runs without an id.
select event_date from {{ source('ops', 'touched_dates') }}
{% if not is_full_build() %}
    union
    select event_date
    from (
        (
            select * from {{ ref('int_gap_session_events') }}
            where {{ is_touched_gap_user() }}
            except
            select * from ops.previous_gap_session_events
        )
        union all
        (
            select * from ops.previous_gap_session_events
            except
            select * from {{ ref('int_gap_session_events') }}
            where {{ is_touched_gap_user() }}
        )
    ) as moved
{% endif %}
-- depends_on: {{ ref('int_gap_session_events') }}
