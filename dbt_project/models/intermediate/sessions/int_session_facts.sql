{{ config(
    materialized='incremental',
    incremental_predicates=[is_touched_user()],
    on_schema_change='fail',
    pre_hook="{{ remember_previous('ops.previous_sessions', this, is_touched_user()) }}",
) }}

-- depends_on: {{ ref('int_touched_users') }} {{ ref('custom_channel_groups') }}
with source_categories as (
    select * from {{ ref('ga4_source_categories') }}
),

-- Numbers and sources of a session depend on the other sessions of the person: all sessions of the people concerned.
sessions as (
    select
        *,
        {{ bare_hostname('entry_referrer') }} as referrer
    from {{ ref('int_identified_sessions') }}
    {% if is_incremental() %}
        where {{ is_touched_user() }}
    {% endif %}
),

-- A device may be shared: its own count takes the sessions of everybody on it.
device_numbers as (
    select
        session_id,
        cast(row_number() over (
            partition by user_pseudo_id order by session_started_at, session_id
        ) as bigint) as device_session_number
    from {{ ref('int_sessions') }}
    {% if is_incremental() %}
        where user_pseudo_id in (select user_pseudo_id from sessions)
    {% endif %}
),

own_sources as (
    select
        *,
        {{ source_origin() }} as source_origin
    from sessions
),

tuples as (
    select
        own_sources.*,
        {{ own_source_columns('referrers.category') }},
        {{ own_campaign_details() }}
    from own_sources
    left join source_categories as referrers on own_sources.referrer = referrers.source
),

numbered as (
    select
        *,
        -- what the export says beats what its source and medium look like
        case
            when own_channel_group is not null then own_channel_group = 'Direct'
            else
                coalesce(own_source, own_medium, own_campaign) is null
                or (
                    coalesce(own_source, '(direct)') = '(direct)'
                    and coalesce(own_medium, '(none)') in ('(none)', '(not set)')
                )
        end as is_direct,
        cast(row_number() over (
            partition by user_key order by session_started_at, session_id
        ) as bigint) as session_number
    from tuples
),

attributed as (
    select
        *,
        {{ latest_in_order(
            "case when not is_direct then " ~ row_of([
                'session_started_at', 'own_source', 'own_medium', 'own_campaign', 'own_channel_group',
                'own_campaign_content', 'own_campaign_term', 'own_campaign_id'
            ]) ~ " end",
            'user_key', 'session_started_at, session_id'
        ) }} as last_non_direct
    from numbered
),

resolved as (
    select
        *,
        last_non_direct is not null
        and session_started_at <= {{ add_days(
            row_field('last_non_direct', 'session_started_at'), var('attribution_lookback_days')
        ) }} as has_recent_non_direct
    from attributed
),

with_source as (
    select
        *,
        case when has_recent_non_direct then {{ row_field('last_non_direct', 'own_source') }} else '(direct)' end
            as source,
        case when has_recent_non_direct then {{ row_field('last_non_direct', 'own_medium') }} else '(none)' end
            as medium,
        case when has_recent_non_direct then {{ row_field('last_non_direct', 'own_campaign') }} end as campaign,
        case when has_recent_non_direct then {{ row_field('last_non_direct', 'own_channel_group') }} end
            as named_channel_group,
        {% for detail in campaign_details() -%}
            case when has_recent_non_direct then {{ row_field('last_non_direct', 'own_' ~ detail) }} end
                as {{ detail }},
            case when not is_direct then own_{{ detail }} end as session_{{ detail }},
        {% endfor -%}
        case when is_direct then '(direct)' else own_source end as session_source,
        case when is_direct then '(none)' else own_medium end as session_medium,
        case when not is_direct then own_campaign end as session_campaign
    from resolved
),

purchases as (
    select
        session_id,
        count(*) as purchases,
        {{ sum_money('revenue_usd') }} as revenue_usd,
        {{ count_where('order_number = 1') }} as new_buyer_purchases,
        {{ sum_money('case when order_number = 1 then revenue_usd else 0 end') }} as new_buyer_revenue_usd
    from {{ ref('int_user_purchases') }}
    {% if is_incremental() %}
        where {{ is_touched_user() }}
    {% endif %}
    group by session_id
),

engaged as (
    select
        *,
        -- as exported where it is; else GA4's definition: 10 engaged seconds, two pages or a key event (rule 5)
        case
            when session_engaged is not null then session_engaged >= 1
            else coalesce(engagement_seconds, 0) >= 10 or page_views >= 2 or key_events > 0
        end as is_engaged
    from with_source
),

grouped as (
    select
        engaged.*,
        coalesce(engaged.named_channel_group, {{ default_channel_group(
            'lower(engaged.source)', 'engaged.medium', 'lower(engaged.campaign)',
            'source_categories.category', 'coalesce(source_categories.is_paid_without_medium, false)',
            'engaged.session_date'
        ) }}) as default_channel_group,
        coalesce(engaged.own_channel_group, {{ default_channel_group(
            'lower(engaged.session_source)', 'engaged.session_medium', 'lower(engaged.session_campaign)',
            'session_categories.category', 'coalesce(session_categories.is_paid_without_medium, false)',
            'engaged.session_date'
        ) }}) as session_default_channel_group
    from engaged
    left join source_categories
        on {{ bare_hostname('engaged.source') }} = source_categories.source
    left join source_categories as session_categories
        on {{ bare_hostname('engaged.session_source') }} = session_categories.source
)

select
    grouped.session_id,
    grouped.user_key,
    grouped.user_pseudo_id,
    grouped.user_id,
    grouped.stream_id,
    grouped.ga_session_id,
    grouped.session_number,
    device_numbers.device_session_number,
    grouped.ga_session_number,
    coalesce(grouped.ga_session_number, device_numbers.device_session_number) = 1 as is_new_user,
    grouped.session_date,
    grouped.session_started_at,
    grouped.session_ended_at,
    {{ seconds_between('grouped.session_started_at', 'grouped.session_ended_at') }} as session_duration_seconds,
    grouped.engagement_seconds,
    grouped.is_engaged,
    not grouped.is_engaged as is_bounce,
    grouped.event_count,
    grouped.page_views,
    grouped.product_views,
    grouped.searches,
    grouped.add_to_carts,
    grouped.begin_checkouts,
    coalesce(purchases.purchases, 0) as purchases,
    coalesce(purchases.revenue_usd, 0) as revenue_usd,
    coalesce(purchases.new_buyer_purchases, 0) as new_buyer_purchases,
    coalesce(purchases.new_buyer_revenue_usd, 0) as new_buyer_revenue_usd,
    grouped.add_to_carts > 0 as has_add_to_cart,
    grouped.begin_checkouts > 0 as has_begin_checkout,
    grouped.add_shipping_infos > 0 as has_add_shipping_info,
    grouped.add_payment_infos > 0 as has_add_payment_info,
    coalesce(purchases.purchases, 0) > 0 as has_purchase,
    grouped.add_to_carts > 0 and coalesce(purchases.purchases, 0) = 0 as is_cart_abandoned,
    grouped.landing_page,
    grouped.landing_page_query,
    nullif(grouped.entry_hostname, '') as landing_hostname,
    grouped.exit_page,
    grouped.source,
    grouped.medium,
    grouped.campaign,
    grouped.campaign_content,
    grouped.campaign_term,
    grouped.campaign_id,
    grouped.default_channel_group,
    {{ custom_channel_group(
        'grouped.source', 'grouped.medium', 'grouped.campaign', 'grouped.landing_page', 'grouped.default_channel_group'
    ) }} as custom_channel_group,
    grouped.session_source,
    grouped.session_medium,
    grouped.session_campaign,
    grouped.session_campaign_content,
    grouped.session_campaign_term,
    grouped.session_campaign_id,
    grouped.session_default_channel_group,
    {{ custom_channel_group(
        'grouped.session_source', 'grouped.session_medium', 'grouped.session_campaign', 'grouped.landing_page',
        'grouped.session_default_channel_group'
    ) }} as session_custom_channel_group,
    grouped.is_direct as is_direct_entry,
    coalesce(grouped.device_category, '(not set)') as device_category,
    coalesce(grouped.operating_system, '(not set)') as operating_system,
    grouped.operating_system_version,
    coalesce(grouped.browser, '(not set)') as browser,
    grouped.browser_version,
    grouped.release,
    coalesce(grouped.language, '(not set)') as language,
    coalesce(grouped.country, '(not set)') as country,
    coalesce(grouped.region, '(not set)') as region,
    coalesce(grouped.city, '(not set)') as city,
    {{ consent_columns('grouped') }},
    grouped.max_scroll_percent,
    {{ hour_of(in_property_zone('grouped.session_started_at')) }} as hour_of_day,
    {{ iso_weekday('grouped.session_date') }} as day_of_week
from grouped
left join purchases on grouped.session_id = purchases.session_id
inner join device_numbers on grouped.session_id = device_numbers.session_id
