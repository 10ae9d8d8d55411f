-- The first session date whose features a change can reach: as a rule the first touched one. It lies before it where a
-- late event has an early timestamp (the device's later sessions may be dated before the event's own day), or where an
-- earlier purchase of the same transaction has come or gone.
{% if is_full_build() %}
    select min(session_date) as session_date
    from {{ ref('int_sessions') }}
{% else %}
    with starts as (
        select session_started_at
        from {{ ref('int_sessions') }}
        where {{ is_touched_session_date() }}
        union all
        select session_started_at from ops.previously_touched_starts
        union all
        select purchased_at as session_started_at
        from {{ ref('int_touched_purchases') }}
        where session_id is null
    ),

    reached as (
        select session_date from {{ ref('int_touched_session_dates') }}
        union all
        select session_date
        from {{ ref('int_sessions') }}
        where session_started_at >= (select min(session_started_at) from starts)
        union all
        select sessions.session_date
        from {{ ref('int_sessions') }} as sessions
        inner join {{ ref('int_touched_purchases') }} as moved on sessions.session_id = moved.session_id
    )

    select min(session_date) as session_date from reached
{% endif %}
