{% if is_full_build() %}
    select user_pseudo_id
    from {{ ref('int_sessions') }}
    where false
{% else %}
    select user_pseudo_id
    from {{ ref('int_sessions') }}
    where {{ is_touched_session_date() }}
    union distinct
    select user_pseudo_id from ops.previously_touched_starts
    union distinct
    select user_pseudo_id from {{ ref('int_touched_purchases') }}
    union distinct
    select user_pseudo_id
    from {{ changed_rows(ref('int_device_users'), 'ops.previous_device_users') }} as moved
{% endif %}
