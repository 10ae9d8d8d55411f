{{ config(
    materialized='incremental',
    incremental_predicates=[is_touched_event_date()],
) }}

-- Each step reads the one before it once: a text is cleaned once.
with raw_events as (
    select
        *,
        {{ trimmed('event_name') }} as clean_event_name
    from {{ ref('base_ga4__events') }}
    where
        {{ quarantine_reason() }} is null
        {% if is_incremental() %}
            and lake_day in ({{ touched_lake_days() }})
        {% endif %}
),

read_params as (
    select
        event_key,
        {{ date_from_yyyymmdd('event_date') }} as event_date,
        event_timestamp,
        clean_event_name as event_name,
        {{ not_set_to_null('user_pseudo_id') }} as user_pseudo_id,
        {{ login_id('user_id') }} as user_id,
        {{ consent('privacy_info_analytics_storage') }} as has_analytics_consent,
        {{ consent('privacy_info_ads_storage') }} as has_ads_consent,
        coalesce(stream_id, '') as stream_id,
        lower(coalesce(platform, 'WEB')) as platform,
        {{ param_int('ga_session_id') }} as param_session_id,
        -- nearly all ids are numbers, as such or as text; what else there is may be a cookie (rule 20)
        case
            when try_cast({{ param_string('ga_session_id') }} as bigint) is null
                then {{ param_string('ga_session_id') }}
        end as session_cookie,
        {{ param_int('ga_session_number') }} as param_session_number,
        coalesce(batch_page_id, {{ param_int('batch_page_id') }}) as batch_page_id,
        coalesce(batch_ordering_id, {{ param_int('batch_ordering_id') }}) as batch_ordering_id,
        coalesce(batch_event_index, {{ param_int('batch_event_index') }}) as batch_event_index,
        {{ param_text('page_location') }} as page_location,
        {{ param_text('page_title') }} as page_title,
        {{ param_text('page_referrer') }} as page_referrer,
        coalesce(
            {{ param_text('firebase_screen') }},
            case when raw_events.platform != 'WEB' then {{ param_text('firebase_screen_class') }} end
        ) as screen_name,
        coalesce(case when raw_events.event_name = 'page_view' then {{ param_int('entrances') }} end, 0) >= 1
            as is_entrance,
        {{ param_int('session_engaged') }} as param_session_engaged,
        {{ param_int('engagement_time_msec') }} as engagement_time_msec,
        {{ param_int('percent_scrolled') }} as percent_scrolled,
        {{ param_text('search_term') }} as search_term,
        coalesce(lower({{ param_text('ignore_referrer') }}) in ('true', '1'), false) as is_referrer_ignored,
        {{ param_text('source') }} as param_source,
        {{ param_text('medium') }} as param_medium,
        {{ param_text('campaign') }} as param_campaign,
        {{ not_set_to_null(param_text('content')) }} as param_content,
        {{ not_set_to_null(param_text('term')) }} as param_term,
        {{ not_set_to_null(param_text('campaign_id')) }} as param_campaign_id,
        {{ param_text('gclid') }} as param_gclid,
        {{ not_set_to_null('collected_traffic_source_manual_source') }} as collected_source,
        {{ not_set_to_null('collected_traffic_source_manual_medium') }} as collected_medium,
        {{ not_set_to_null('collected_traffic_source_manual_campaign_name') }} as collected_campaign,
        {{ not_set_to_null('collected_traffic_source_manual_content') }} as collected_content,
        {{ not_set_to_null('collected_traffic_source_manual_term') }} as collected_term,
        {{ not_set_to_null('collected_traffic_source_manual_campaign_id') }} as collected_campaign_id,
        {{ not_set_to_null('collected_traffic_source_gclid') }} as collected_gclid,
        {{ not_set_to_null('collected_traffic_source_dclid') }} as collected_dclid,
        {{ has_last_click('session_traffic_source_last_click') }} as has_last_click,
        {{ last_click_field('session_traffic_source_last_click', 'source') }} as last_click_source,
        {{ last_click_field('session_traffic_source_last_click', 'medium') }} as last_click_medium,
        {{ last_click_field('session_traffic_source_last_click', 'campaign') }} as last_click_campaign,
        {{ last_click_detail('session_traffic_source_last_click', 'content') }} as last_click_campaign_content,
        {{ last_click_detail('session_traffic_source_last_click', 'term') }} as last_click_campaign_term,
        {{ last_click_detail('session_traffic_source_last_click', 'campaign_id') }} as last_click_campaign_id,
        {{ last_click_channel_group('session_traffic_source_last_click') }} as last_click_channel_group,
        case when {{ is_about_money('clean_event_name') }} then ecommerce_transaction_id end
            as ecommerce_transaction_id,
        case when {{ is_about_money('clean_event_name') }} then {{ param_text('transaction_id') }} end
            as param_transaction_id,
        {{ param_text('currency') }} as currency,
        ecommerce_purchase_revenue_in_usd is not null as has_purchase_revenue_usd,
        {{ amount_or_null('ecommerce_purchase_revenue_in_usd') }} as purchase_revenue_usd,
        {{ amount_or_null('ecommerce_purchase_revenue') }} as purchase_revenue_local,
        {{ amount_or_null('ecommerce_refund_value_in_usd') }} as refund_value_usd,
        {{ amount_or_null('ecommerce_refund_value') }} as refund_value_local,
        {{ amount_or_null('event_value_in_usd') }} as event_value_usd,
        {{ param_number('value') }} as param_value,
        {{ cost_or_null('ecommerce_shipping_value_in_usd') }} as column_shipping_usd,
        {{ cost_or_null('ecommerce_shipping_value') }} as column_shipping_local,
        {{ cost_or_null(param_number('shipping')) }} as param_shipping,
        {{ cost_or_null('ecommerce_tax_value_in_usd') }} as column_tax_usd,
        {{ cost_or_null('ecommerce_tax_value') }} as column_tax_local,
        {{ cost_or_null(param_number('tax')) }} as param_tax,
        -- nobody buys a million pieces: a hit of anybody's making must not stop the sums
        case when ecommerce_total_item_quantity between 0 and 1000000 then ecommerce_total_item_quantity end
            as item_quantity,
        case
            when clean_event_name in (
                'view_item', 'add_to_cart', 'remove_from_cart', 'add_to_wishlist', 'begin_checkout', 'purchase',
                'refund'
            ) then {{ compact_items('items') }}
        end as items,
        lower({{ not_set_to_null('device_category') }}) as device_category,
        {{ not_set_to_null('device_operating_system') }} as operating_system,
        {{ not_set_to_null('device_operating_system_version') }} as operating_system_version,
        lower({{ not_set_to_null('device_language') }}) as language,
        {{ not_set_to_null('coalesce(device_web_info_browser, device_browser)') }} as browser,
        {{ not_set_to_null('coalesce(device_web_info_browser_version, device_browser_version)') }} as browser_version,
        {{ not_set_to_null('coalesce(' ~ param_text(var('release_parameter')) ~ ', app_info_version)') }} as release,
        case when clean_event_name = 'purchase' then {{ not_set_to_null(param_text('coupon')) }} end as coupon,
        case
            when clean_event_name in ('add_payment_info', 'purchase')
                then {{ not_set_to_null(param_text('payment_type')) }}
        end as payment_type,
        case
            when clean_event_name in ('add_shipping_info', 'purchase')
                then {{ not_set_to_null(param_text('shipping_tier')) }}
        end as shipping_tier,
        {{ not_set_to_null('device_web_info_hostname') }} as hostname,
        {{ not_set_to_null('geo_country') }} as country,
        {{ not_set_to_null('geo_region') }} as region,
        {{ not_set_to_null('geo_city') }} as city,
        {{ param_text('traffic_type') }} as traffic_type,
        {{ param_int('synthetic_bundle') }} as synthetic_bundle,
        params_hash,
        items_hash
    from raw_events
),

cleaned as (
    select
        *,
        coalesce(param_session_id, {{ session_cookie_field('session_cookie', 'id') }}) as ga_session_id,
        coalesce(param_session_number, {{ session_cookie_field('session_cookie', 'number') }}) as ga_session_number,
        coalesce(param_session_engaged, {{ session_cookie_field('session_cookie', 'engaged') }}) as session_engaged,
        {{ not_set_to_null('page_title') }} as clean_page_title,
        {{ regex_extract('page_referrer', '^[A-Za-z-]+://([^/?#:]+)') }} as referrer_hostname,
        coalesce(
            {{ regex_extract('page_location', '^[A-Za-z]+://([^/?#:]+)') }}, hostname
        ) as page_hostname,
        {{ page_path('page_location') }} as page_path,
        case
            when
                {{ contains_text('page_location', 'clid=') }} or {{ contains_text('page_location', 'clkid=') }}
                or {{ contains_text('page_location', 'braid=') }}
                then {{ regex_extract(
                    'page_location', '[?&](gclid|wbraid|gbraid|dclid|msclkid|fbclid|ttclid)=[^&#]'
                ) }}
        end as url_click_id,
        {{ not_set_to_null('search_term') }} as clean_search_term,
        {{ not_set_to_null('param_source') }} as clean_param_source,
        {{ not_set_to_null('param_medium') }} as clean_param_medium,
        {{ not_set_to_null('param_campaign') }} as clean_param_campaign,
        {{ not_set_to_null('param_gclid') }} as clean_param_gclid,
        {{ transaction_id('ecommerce_transaction_id') }} as clean_ecommerce_transaction_id,
        {{ transaction_id('param_transaction_id') }} as clean_param_transaction_id,
        upper({{ not_set_to_null('currency') }}) as clean_currency,
        {{ amount_or_null('param_value') }} as param_amount
    from read_params
),

sourced as (
    select
        *,
        -- one tuple from one event (rule 8): UTMs of the event, else what GA4 put into its params
        case
            when coalesce(collected_source, collected_medium, collected_campaign) is not null then 'collected'
            when
                coalesce(clean_param_source, clean_param_medium, clean_param_campaign) is not null
                and not (is_referrer_ignored and coalesce(clean_param_medium, '') = 'referral')
                then 'params'
        end as tuple_origin,
        case
            when coalesce(collected_gclid, clean_param_gclid) is not null then 'gclid'
            when collected_dclid is not null then 'dclid'
            else url_click_id
        end as click_id_type
    from cleaned
),

tuples as (
    select
        *,
        case tuple_origin when 'collected' then collected_source when 'params' then clean_param_source end
            as tuple_source,
        lower(case tuple_origin when 'collected' then collected_medium when 'params' then clean_param_medium end)
            as tuple_medium,
        case tuple_origin when 'collected' then collected_campaign when 'params' then clean_param_campaign end
            as tuple_campaign,
        case tuple_origin when 'collected' then collected_content when 'params' then param_content end
            as tuple_content,
        case tuple_origin when 'collected' then collected_term when 'params' then param_term end as tuple_term,
        case tuple_origin when 'collected' then collected_campaign_id when 'params' then param_campaign_id end
            as tuple_campaign_id
    from sourced
),

paid as (
    select
        *,
        -- a click id is paid traffic of its network unless UTMs say otherwise (rule 9); 'organic' and 'referral' are
        -- what GA4 detects from the referrer, not UTMs; a source or campaign of one's own without a medium is UTMs
        click_id_type is not null
        and (
            coalesce(tuple_medium, '(none)') in ('organic', 'referral')
            or (
                coalesce(tuple_medium, '(none)') in ('(none)', '(not set)')
                and coalesce(tuple_source, '(direct)') = '(direct)'
                and coalesce(tuple_campaign, '(direct)') in ('(direct)', '(organic)', '(referral)')
            )
        ) as is_click_id_decisive
    from tuples
)

select
    event_key,
    event_date,
    {{ hash_of([
        'event_date', 'stream_id', 'user_pseudo_id', 'ga_session_id', 'event_name', 'event_timestamp', 'params_hash',
        'batch_page_id', 'batch_ordering_id', 'batch_event_index', 'items_hash', 'ecommerce_transaction_id'
    ]) }} as event_hash,
    event_timestamp,
    event_name,
    {{ is_background('event_name') }} as is_background,
    user_pseudo_id,
    user_id,
    has_analytics_consent,
    has_ads_consent,
    stream_id,
    platform,
    ga_session_id,
    ga_session_number,
    case
        when user_pseudo_id is not null and ga_session_id is not null
            then stream_id || '|' || user_pseudo_id || '|' || cast(ga_session_id as string)
    end as session_id,
    batch_page_id,
    batch_ordering_id,
    batch_event_index,
    is_entrance,
    page_location,
    coalesce(page_path, screen_name) as page_path,
    clean_page_title as page_title,
    lower(coalesce(page_hostname, '')) as page_hostname,
    -- www.shop.example is no stranger to shop.example
    case
        when
            not is_referrer_ignored
            and referrer_hostname != page_hostname
            and {{ bare_hostname('referrer_hostname') }} != {{ bare_hostname('page_hostname') }}
            then referrer_hostname
    end as external_referrer,
    session_engaged,
    -- a day at the most: longer is a clock that is wrong
    case when engagement_time_msec between 0 and 86400000 then engagement_time_msec end as engagement_msec,
    case when percent_scrolled between 0 and 100 then percent_scrolled end as percent_scrolled,
    clean_search_term as search_term,
    case
        when is_click_id_decisive
            then case click_id_type
                when 'msclkid' then 'bing'
                when 'fbclid' then 'facebook'
                when 'ttclid' then 'tiktok'
                else 'google'
            end
        else tuple_source
    end as event_source,
    case
        when is_click_id_decisive then case click_id_type when 'dclid' then 'display' else 'cpc' end
        else tuple_medium
    end as event_medium,
    case when not is_click_id_decisive then tuple_campaign end as event_campaign,
    case when not is_click_id_decisive then tuple_content end as event_campaign_content,
    case when not is_click_id_decisive then tuple_term end as event_campaign_term,
    case when not is_click_id_decisive then tuple_campaign_id end as event_campaign_id,
    tuple_origin is not null or is_click_id_decisive as has_event_source,
    has_last_click,
    case when has_last_click then last_click_source end as last_click_source,
    case when has_last_click then lower(last_click_medium) end as last_click_medium,
    case when has_last_click then last_click_campaign end as last_click_campaign,
    case when has_last_click then last_click_campaign_content end as last_click_campaign_content,
    case when has_last_click then last_click_campaign_term end as last_click_campaign_term,
    case when has_last_click then last_click_campaign_id end as last_click_campaign_id,
    case when has_last_click then last_click_channel_group end as last_click_channel_group,
    coalesce(clean_ecommerce_transaction_id, clean_param_transaction_id) as transaction_id,
    case
        when coalesce(clean_ecommerce_transaction_id, clean_param_transaction_id) is null
            then coalesce(
                {{ not_set_to_null('ecommerce_transaction_id') }}, {{ not_set_to_null('param_transaction_id') }}
            )
    end as placeholder_transaction_id,
    case
        -- what the store took, as Google converts it; the params have it in millionths of the buyer's currency
        when event_name = 'in_app_purchase' then greatest(coalesce(event_value_usd, 0), 0)
        when event_name = 'purchase'
            -- what was paid is never negative; a refund is an event of its own
            then greatest(case
                -- exported, if only as NaN: what it is not, no other amount is
                when has_purchase_revenue_usd then coalesce(purchase_revenue_usd, 0)
                else coalesce(
                    event_value_usd,
                    case when clean_currency = 'USD' then coalesce(purchase_revenue_local, param_amount) end,
                    0
                )
            end, 0)
    end as purchase_revenue_usd,
    case when {{ is_about_money('event_name') }} then clean_currency end as currency,
    case
        when event_name = 'in_app_purchase' then {{ cost_or_null('param_value / 1000000') }}
        when event_name = 'purchase'
            then case
                when coalesce(purchase_revenue_local, param_amount) < 0 then 0
                else coalesce(purchase_revenue_local, param_amount)
            end
    end as revenue_local,
    {% for cost in ['shipping', 'tax'] %}
        case
            when event_name = 'purchase'
                then coalesce(
                    column_{{ cost }}_usd,
                    case when clean_currency = 'USD' then coalesce(column_{{ cost }}_local, param_{{ cost }}) end
                )
        end as {{ cost }}_usd,
        case when event_name = 'purchase' then coalesce(column_{{ cost }}_local, param_{{ cost }}) end
            as {{ cost }}_local,
    {% endfor %}
    coupon,
    case
        when event_name = 'refund'
            -- null where no amount was sent: GA4 means a full refund by that
            then abs(coalesce(
                refund_value_usd,
                event_value_usd,
                case when clean_currency = 'USD' then coalesce(refund_value_local, param_amount) end
            ))
    end as refund_value_usd,
    coalesce(event_value_usd, case when clean_currency = 'USD' then param_amount end) as value_usd,
    cast(coalesce(item_quantity, {{ sum_of_field('items', 'quantity') }}) as bigint) as item_quantity,
    items,
    items_hash,
    device_category,
    operating_system,
    operating_system_version,
    browser,
    browser_version,
    language,
    release,
    payment_type,
    shipping_tier,
    country,
    region,
    city,
    case
        when synthetic_bundle = 1 then 'synthetic'
        when lower(traffic_type) = 'internal' then 'internal'
        {% for hostname in var('excluded_hostnames') %}
            when page_hostname = '{{ hostname }}' then 'internal'
        {% endfor %}
    end as exclusion_reason
from paid
