-- A rewritten day can also move the sessions of events on other days, where sessions are runs without an id.
-- depends_on: {{ ref('int_gap_session_events') }}
select event_date from {{ source('ops', 'touched_dates') }}
{% if not is_full_build() %}
    union
    select event_date
    from {{ changed_rows(
        ref('int_gap_session_events'), 'ops.previous_gap_session_events', is_touched_gap_user()
    ) }} as moved
{% endif %}
