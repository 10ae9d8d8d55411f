{{ config(
    pre_hook="{{ remember_previous(
        'ops.previous_gap_users', built('intermediate', 'int_gap_session_events'),
        is_touched_event_date(), columns=['user_pseudo_id']
    ) }}"
) }}

-- The visitors without a ga_session_id who have, or had, events on a touched date: their runs are cut anew.
select user_pseudo_id
from {{ ref('stg_ga4__events') }}
where
    session_id is null
    and user_pseudo_id is not null
    and {{ is_touched_event_date() }}
{% if not is_full_build() %}
    union
    select user_pseudo_id from ops.previous_gap_users
{% endif %}
