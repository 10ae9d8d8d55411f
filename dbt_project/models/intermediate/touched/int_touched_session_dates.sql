-- Every date on which a session that had, or now has, an event on a touched date can begin.
{% if is_full_build() %}
    select distinct event_date as session_date
    from {{ ref('int_session_days') }}
    union distinct
    select event_date as session_date from {{ ref('int_touched_event_dates') }}
{% else %}
    with sessions as (
        select session_id
        from {{ ref('int_session_days') }}
        where {{ is_touched_session_event_date() }}
        union distinct
        select session_id from ops.previously_touched_sessions
    )

    select days.event_date as session_date
    from {{ ref('int_session_days') }} as days
    inner join sessions on days.session_id = sessions.session_id
    union distinct
    select event_date as session_date from {{ ref('int_touched_event_dates') }}
{% endif %}
