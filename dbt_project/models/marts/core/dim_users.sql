with firsts as (
    select *
    from {{ ref('fct_sessions') }}
    where session_number = 1
),

totals as (
    select
        user_pseudo_id,
        max(user_id) as user_id,
        max(session_date) as last_session_date,
        count(*) as sessions,
        {{ count_where('is_engaged') }} as engaged_sessions,
        {{ count_where('has_add_to_cart') }} as cart_sessions
    from {{ ref('fct_sessions') }}
    group by user_pseudo_id
),

purchases as (
    select
        user_pseudo_id,
        count(*) as purchases,
        {{ sum_money('revenue_usd') }} as revenue_usd,
        {{ sum_money('net_revenue_usd') }} as net_revenue_usd,
        min(purchase_date) as first_purchase_date,
        max(purchase_date) as last_purchase_date
    from {{ ref('fct_purchases') }}
    group by user_pseudo_id
)

select
    totals.user_pseudo_id,
    totals.user_id,
    firsts.session_date as first_session_date,
    totals.last_session_date,
    firsts.source as first_source,
    firsts.medium as first_medium,
    firsts.campaign as first_campaign,
    firsts.default_channel_group as first_default_channel_group,
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
    purchases.last_purchase_date
from totals
inner join firsts on totals.user_pseudo_id = firsts.user_pseudo_id
left join purchases on totals.user_pseudo_id = purchases.user_pseudo_id
