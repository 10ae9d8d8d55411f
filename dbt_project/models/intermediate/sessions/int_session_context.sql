{{ config(
    materialized='incremental',
    incremental_predicates=[is_touched_history()],
) }}

-- depends_on: {{ ref('int_touched_devices') }} {{ ref('int_touched_from') }}
-- What is known when a session starts: its entry, and what the same device had done strictly before. By device, not by
-- person: a login tomorrow may join two devices, which nobody knows today.
with sessions as (
    select
        session_id,
        session_no,
        user_pseudo_id,
        session_date,
        session_started_at
    from {{ ref('int_sessions') }}
    {% if is_incremental() %}
        where {{ is_touched_device() }}
    {% endif %}
),

entries as (
    select entries.*
    from {{ ref('int_session_entries') }} as entries
    inner join sessions on entries.session_no = sessions.session_no
),

purchases as (
    select
        user_pseudo_id,
        session_id,
        purchased_at
    from {{ ref('int_purchases') }}
    {% if is_incremental() %}
        where {{ is_touched_device() }}
    {% endif %}
),

-- One row per thing that happened on a device; counted are the rows of earlier microseconds.
moments as (
    select
        user_pseudo_id,
        session_id,
        {{ micros_of('session_started_at') }} as micros,
        1 as starts,
        0 as purchases,
        0 as carts
    from sessions
    union all
    select
        user_pseudo_id,
        null as session_id,
        {{ micros_of('purchased_at') }} as micros,
        0 as starts,
        1 as purchases,
        0 as carts
    from purchases
    union all
    select
        sessions.user_pseudo_id,
        null as session_id,
        {{ micros_of('steps.cart_at') }} as micros,
        0 as starts,
        0 as purchases,
        1 as carts
    from {{ ref('int_session_steps') }} as steps
    inner join sessions on steps.session_id = sessions.session_id
    where steps.cart_at is not null
),

counted as (
    select
        session_id,
        micros,
        cast(coalesce(sum(starts) over earlier, 0) as bigint) as previous_sessions,
        cast(coalesce(sum(purchases) over earlier, 0) as bigint) as previous_purchases,
        cast(coalesce(sum(carts) over earlier, 0) as bigint) as previous_cart_sessions,
        max(case when starts = 1 then micros end) over earlier as previous_micros
    from moments
    window earlier as (
        partition by user_pseudo_id order by micros range between unbounded preceding and 1 preceding
    )
),

buyers as (
    select distinct session_id
    from purchases
)

select
    sessions.session_id,
    sessions.session_no,
    sessions.user_pseudo_id,
    sessions.session_date,
    sessions.session_started_at,
    entries.entered_at,
    buyers.session_id is not null as has_purchase,
    entries.device_category,
    entries.operating_system,
    entries.browser,
    entries.country,
    entries.default_channel_group,
    entries.session_source,
    entries.session_campaign,
    entries.landing_type,
    coalesce(entries.ga_session_number, counted.previous_sessions + 1) = 1 as is_new_user,
    {{ iso_weekday('sessions.session_date') }} >= 6 as is_weekend,
    {{ hour_of(in_property_zone('sessions.session_started_at')) }} as hour_of_day,
    {{ iso_weekday('sessions.session_date') }} as day_of_week,
    counted.previous_sessions,
    counted.previous_purchases,
    counted.previous_cart_sessions,
    cast(counted.micros - counted.previous_micros as double) / 86400000000 as days_since_previous_session
from sessions
inner join entries on sessions.session_no = entries.session_no
inner join counted on sessions.session_id = counted.session_id
left join buyers on sessions.session_id = buyers.session_id
{% if is_incremental() %}
    where {{ is_touched_history('sessions.user_pseudo_id', 'sessions.session_date') }}
{% endif %}
