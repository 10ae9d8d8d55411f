{{ config(
    pre_hook="{{ remember_previous(
        'ops.previous_user_keys', built('intermediate', 'int_session_facts'), is_touched_device(), columns=['user_key']
    ) }}"
) }}

-- The people, as they were and as they are now, who have a session on a touched device or an order without one that has
-- changed, or have said without a device what they consent to: all that looks back into the history of a person is
-- rewritten for them, and for nobody else.
{% if is_full_build() %}
    select user_key
    from {{ ref('int_identified_sessions') }}
    where false
{% else %}
    select user_key
    from {{ ref('int_identified_sessions') }}
    where user_pseudo_id in (select user_pseudo_id from {{ ref('int_touched_devices') }})
    union distinct
    select user_key from ops.previous_user_keys
    union distinct
    select user_key
    from {{ changed_rows(ref('int_sessionless_purchases'), 'ops.previous_sessionless_purchases') }} as moved
    union distinct
    select {{ user_key('user_id', 'user_id') }} as user_key
    from {{ ref('int_login_consents') }}
    where {{ is_touched_event_date() }}
    union distinct
    select {{ user_key('user_id', 'user_id') }} as user_key
    from ops.previous_login_consents
{% endif %}
