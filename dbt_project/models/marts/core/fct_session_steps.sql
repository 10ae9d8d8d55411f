{{ config(materialized='view') }}

-- When each session came how far, and with what: for those who look for where it broke.
with first_purchases as (
    select
        session_id,
        min(purchased_at) as purchased_at
    from {{ ref('fct_purchases') }}
    group by session_id
)

select
    sessions.session_id,
    sessions.session_date,
    sessions.session_started_at,
    steps.cart_at,
    steps.checkout_at,
    purchases.purchased_at,
    sessions.device_category,
    sessions.default_channel_group,
    sessions.country,
    sessions.browser,
    own.browser_version,
    own.release,
    own.payment_type,
    sessions.landing_page,
    own.cart_page,
    own.checkout_page
from {{ ref('int_session_facts') }} as sessions
inner join {{ ref('int_sessions') }} as own
    on sessions.session_date = own.session_date and sessions.session_id = own.session_id
left join {{ ref('int_session_steps') }} as steps
    on sessions.session_date = steps.session_date and sessions.session_id = steps.session_id
left join first_purchases as purchases on sessions.session_id = purchases.session_id
