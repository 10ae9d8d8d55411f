{{ config(
    materialized='incremental',
    incremental_predicates=[is_touched_user()],
) }}

-- depends_on: {{ ref('int_touched_users') }}
-- An order without a session can be older than the first visit: it counts in the week of that.
with users as (
    select
        user_key,
        has_earlier_sessions,
        first_default_channel_group,
        {{ week_of('first_session_date') }} as cohort_week
    from {{ ref('dim_users') }}
    {% if is_incremental() %}
        where {{ is_touched_user() }}
    {% endif %}
),

moments as (
    select
        user_key,
        {{ week_of('session_date') }} as activity_week,
        true as is_session,
        cast(0 as double) as revenue_usd,
        cast(0 as double) as net_revenue_usd
    from {{ ref('int_session_facts') }}
    {% if is_incremental() %}
        where {{ is_touched_user() }}
    {% endif %}
    union all
    select
        user_key,
        {{ week_of('purchase_date') }} as activity_week,
        false as is_session,
        revenue_usd,
        net_revenue_usd
    from {{ ref('int_user_purchases') }}
    {% if is_incremental() %}
        where {{ is_touched_user() }}
    {% endif %}
)

select
    users.user_key,
    users.has_earlier_sessions,
    users.first_default_channel_group,
    users.cohort_week,
    greatest(moments.activity_week, users.cohort_week) as activity_week,
    {{ any_true('moments.is_session') }} as is_active,
    {{ count_where('not moments.is_session') }} as purchases,
    {{ sum_money('moments.revenue_usd') }} as revenue_usd,
    {{ sum_money('moments.net_revenue_usd') }} as net_revenue_usd
from moments
inner join users on moments.user_key = users.user_key
group by
    users.user_key,
    users.has_earlier_sessions,
    users.first_default_channel_group,
    users.cohort_week,
    greatest(moments.activity_week, users.cohort_week)
