{{ config(
    pre_hook="{{ remember_previous('ops.previous_device_users', this) }}"
) }}

-- A device that several people logged in on belongs to the one who did so last; each one's own sessions stay theirs.
with ranked as (
    select
        user_pseudo_id,
        user_id,
        row_number() over (
            partition by user_pseudo_id order by last_event_timestamp desc, event_date desc, user_id asc
        ) as login_rank
    from {{ ref('int_logins') }}
)

select
    user_pseudo_id,
    user_id
from ranked
where login_rank = 1
