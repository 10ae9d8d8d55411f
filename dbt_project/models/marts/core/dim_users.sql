{{ config(
    materialized='incremental',
    incremental_predicates=[is_touched_user()],
    on_schema_change='fail',
    pre_hook="{{ add_custom_columns(model) }}",
) }}

-- depends_on: {{ ref('int_touched_users') }}
with sessions as (
    select *
    from {{ ref('int_session_facts') }}
    {% if is_incremental() %}
        where {{ is_touched_user() }}
    {% endif %}
),

firsts as (
    select *
    from sessions
    where session_number = 1
),

totals as (
    select
        user_key,
        max(session_date) as last_session_date,
        count(*) as sessions,
        {{ count_where('is_engaged') }} as engaged_sessions,
        {{ count_where('has_add_to_cart') }} as cart_sessions,
        count(distinct user_pseudo_id) as devices,
        count(distinct device_category) as device_categories
    from sessions
    group by user_key
),

-- what each session ended with, and what the person has said without a device
statements as (
    select
        user_key,
        case when has_analytics_consent then analytics_consent_at end as analytics_granted_at,
        case when not has_analytics_consent then analytics_consent_at end as analytics_denied_at,
        case when has_ads_consent then ads_consent_at end as ads_granted_at,
        case when not has_ads_consent then ads_consent_at end as ads_denied_at
    from sessions
    union all
    select
        {{ user_key('user_id', 'user_id') }} as user_key,
        analytics_granted_at,
        analytics_denied_at,
        ads_granted_at,
        ads_denied_at
    from {{ ref('int_login_consents') }}
),

consents as (
    select
        user_key,
        max(analytics_granted_at) as analytics_granted_at,
        max(analytics_denied_at) as analytics_denied_at,
        max(ads_granted_at) as ads_granted_at,
        max(ads_denied_at) as ads_denied_at
    from statements
    group by user_key
),

purchases as (
    select
        user_key,
        count(*) as purchases,
        {{ sum_money('revenue_usd') }} as revenue_usd,
        {{ sum_money('net_revenue_usd') }} as net_revenue_usd,
        min(purchased_at) as first_purchased_at,
        min(
            case when order_number = 2 then {{ seconds_between('previous_purchased_at', 'purchased_at') }} end
        ) / 86400 as days_to_second_purchase,
        min(purchase_date) as first_purchase_date,
        max(purchase_date) as last_purchase_date
    from {{ ref('int_user_purchases') }}
    {% if is_incremental() %}
        where {{ is_touched_user() }}
    {% endif %}
    group by user_key
)

select
    totals.user_key,
    {{ user_id_of_key('totals.user_key') }} as user_id,
    firsts.user_pseudo_id,
    totals.devices,
    totals.device_categories,
    not firsts.is_new_user as has_earlier_sessions,
    firsts.session_date as first_session_date,
    totals.last_session_date,
    firsts.source as first_source,
    firsts.medium as first_medium,
    firsts.campaign as first_campaign,
    firsts.default_channel_group as first_default_channel_group,
    firsts.custom_channel_group as first_custom_channel_group,
    firsts.device_category as first_device_category,
    firsts.country as first_country,
    firsts.landing_page as first_landing_page,
    totals.sessions,
    totals.engaged_sessions,
    totals.cart_sessions,
    coalesce(purchases.purchases, 0) as purchases,
    coalesce(purchases.revenue_usd, 0) as revenue_usd,
    coalesce(purchases.net_revenue_usd, 0) as net_revenue_usd,
    purchases.first_purchase_date,
    purchases.last_purchase_date,
    -- a server may have sent an order before the first visit
    case
        when purchases.first_purchased_at is not null
            then greatest(
                {{ seconds_between('firsts.session_started_at', 'purchases.first_purchased_at') }} / 86400, 0
            )
    end as days_to_first_purchase,
    purchases.days_to_second_purchase,
    {{ consent_columns('consents') }}{{ select_custom('dim_users', 'properties') }}
from totals
inner join firsts on totals.user_key = firsts.user_key
inner join consents on totals.user_key = consents.user_key
left join purchases on totals.user_key = purchases.user_key
{% if custom_columns('dim_users') %}
    left join {{ ref('int_user_properties') }} as properties on totals.user_key = properties.user_key
{% endif %}
