{{ config(
    materialized='incremental',
    incremental_strategy='replace_dates',
    incremental_predicates=[is_touched_event_date()],
    on_schema_change='fail',
) }}

with raw_events as (
    select
        *,
        {{ param_lists('event_params') }}
    from {{ ref('base_ga4__events') }}
    where
        {{ quarantine_reason() }} is null
        {% if is_incremental() %}
            and lake_day in ({{ touched_lake_days() }})
        {% endif %}
),

read_params as (
    select
        {{ date_from_yyyymmdd('event_date') }} as event_date,
        lake_file,
        lake_row,
        event_timestamp,
        trim(event_name) as event_name,
        {{ not_set_to_null('user_pseudo_id') }} as user_pseudo_id,
        {{ login_id('user_id') }} as user_id,
        coalesce(stream_id, '') as stream_id,
        lower(coalesce(platform, 'WEB')) as platform,
        {{ param_int('ga_session_id') }} as ga_session_id,
        {{ param_int('ga_session_number') }} as ga_session_number,
        coalesce(batch_page_id, {{ param_int('batch_page_id') }}) as batch_page_id,
        coalesce(batch_ordering_id, {{ param_int('batch_ordering_id') }}) as batch_ordering_id,
        coalesce(batch_event_index, {{ param_int('batch_event_index') }}) as batch_event_index,
        {{ param_text('page_location') }} as page_location,
        {{ not_set_to_null(param_text('page_title')) }} as page_title,
        {{ not_set_to_null(param_text('page_referrer')) }} as page_referrer,
        {{ param_text('firebase_screen') }} as screen_name,
        {{ param_int('session_engaged') }} as session_engaged,
        case
            -- a day at the most: longer is a clock that is wrong
            when {{ param_int('engagement_time_msec') }} between 0 and 86400000
                then {{ param_int('engagement_time_msec') }}
        end as engagement_msec,
        {{ param_int('percent_scrolled') }} as percent_scrolled,
        {{ not_set_to_null(param_text('search_term')) }} as search_term,
        coalesce(lower({{ param_text('ignore_referrer') }}) in ('true', '1'), false) as is_referrer_ignored,
        {{ not_set_to_null(param_text('source')) }} as param_source,
        {{ not_set_to_null(param_text('medium')) }} as param_medium,
        {{ not_set_to_null(param_text('campaign')) }} as param_campaign,
        {{ not_set_to_null(param_text('gclid')) }} as param_gclid,
        {{ not_set_to_null('collected_traffic_source.manual_source') }} as collected_source,
        {{ not_set_to_null('collected_traffic_source.manual_medium') }} as collected_medium,
        {{ not_set_to_null('collected_traffic_source.manual_campaign_name') }} as collected_campaign,
        {{ not_set_to_null('collected_traffic_source.gclid') }} as collected_gclid,
        {{ not_set_to_null('collected_traffic_source.dclid') }} as collected_dclid,
        {{ has_last_click('session_traffic_source_last_click') }} as has_last_click,
        {{ last_click_field('session_traffic_source_last_click', 'source') }} as last_click_source,
        lower({{ last_click_field('session_traffic_source_last_click', 'medium') }}) as last_click_medium,
        {{ last_click_field('session_traffic_source_last_click', 'campaign') }} as last_click_campaign,
        coalesce(
            {{ not_set_to_null('ecommerce.transaction_id') }},
            {{ not_set_to_null("param_strings[list_position(param_keys, 'transaction_id')]") }},
            cast(param_ints[list_position(param_keys, 'transaction_id')] as varchar)
        ) as transaction_id,
        upper({{ not_set_to_null(param_text('currency')) }}) as currency,
        ecommerce.purchase_revenue_in_usd is not null as has_purchase_revenue_usd,
        {{ amount_or_null('ecommerce.purchase_revenue_in_usd') }} as purchase_revenue_usd,
        {{ amount_or_null('ecommerce.purchase_revenue') }} as purchase_revenue_local,
        {{ amount_or_null('ecommerce.refund_value_in_usd') }} as refund_value_usd,
        {{ amount_or_null('ecommerce.refund_value') }} as refund_value_local,
        {{ amount_or_null('event_value_in_usd') }} as event_value_usd,
        {{ amount_or_null(param_number('value')) }} as param_value,
        ecommerce.total_item_quantity as item_quantity,
        case
            when event_name in (
                'view_item', 'add_to_cart', 'remove_from_cart', 'add_to_wishlist', 'begin_checkout', 'purchase',
                'refund'
            ) then {{ compact_items('items') }}
        end as items,
        lower({{ not_set_to_null('device.category') }}) as device_category,
        {{ not_set_to_null('device.operating_system') }} as operating_system,
        {{ not_set_to_null('coalesce(device.web_info.browser, device.browser)') }} as browser,
        {{ not_set_to_null('device.web_info.hostname') }} as hostname,
        {{ not_set_to_null('geo.country') }} as country,
        lower({{ param_text('traffic_type') }}) as traffic_type,
        {{ param_int('synthetic_bundle') }} as synthetic_bundle,
        {{ unordered_list_hash('event_params') }} as params_hash
    from raw_events
),

derived as (
    select
        *,
        {{ hash_of([
            'stream_id', 'user_pseudo_id', 'ga_session_id', 'event_name', 'event_timestamp', 'params_hash'
        ]) }} as event_hash,
        {{ page_path('page_location') }} as page_path,
        coalesce(
            {{ regex_extract('page_location', '^[A-Za-z]+://([^/?#:]+)') }}, hostname
        ) as page_hostname,
        {{ regex_extract('page_referrer', '^[A-Za-z-]+://([^/?#:]+)') }} as referrer_hostname,
        case
            when {{ contains_text('page_location', 'clid=') }} or {{ contains_text('page_location', 'braid=') }}
                then {{ regex_extract(
                    'page_location', '[?&](gclid|wbraid|gbraid|dclid|msclkid|fbclid|ttclid)=[^&#]'
                ) }}
        end as url_click_id
    from read_params
)

select
    event_date,
    lake_file,
    lake_row,
    event_hash,
    event_timestamp,
    {{ timestamp_from_micros('event_timestamp') }} as event_at,
    event_name,
    user_pseudo_id,
    user_id,
    stream_id,
    platform,
    ga_session_id,
    ga_session_number,
    case
        when user_pseudo_id is not null and ga_session_id is not null
            then stream_id || '|' || user_pseudo_id || '|' || cast(ga_session_id as varchar)
    end as session_id,
    batch_page_id,
    batch_ordering_id,
    batch_event_index,
    page_location,
    coalesce(page_path, screen_name) as page_path,
    page_title,
    page_referrer,
    referrer_hostname,
    page_hostname,
    is_referrer_ignored,
    session_engaged,
    engagement_msec,
    percent_scrolled,
    search_term,
    param_source,
    param_medium,
    param_campaign,
    collected_source,
    collected_medium,
    collected_campaign,
    case
        when coalesce(collected_gclid, param_gclid) is not null then 'gclid'
        when collected_dclid is not null then 'dclid'
        else url_click_id
    end as click_id_type,
    has_last_click,
    last_click_source,
    last_click_medium,
    last_click_campaign,
    transaction_id,
    currency,
    case
        when event_name = 'purchase'
            then case
                -- exported, if only as NaN: what it is not, no other amount is
                when has_purchase_revenue_usd then coalesce(purchase_revenue_usd, 0)
                else coalesce(
                    event_value_usd,
                    case when currency = 'USD' then coalesce(purchase_revenue_local, param_value) end,
                    0
                )
            end
    end as purchase_revenue_usd,
    case
        when event_name = 'refund'
            -- null where no amount was sent: GA4 means a full refund by that
            then abs(coalesce(
                refund_value_usd,
                event_value_usd,
                case when currency = 'USD' then coalesce(refund_value_local, param_value) end
            ))
    end as refund_value_usd,
    coalesce(event_value_usd, case when currency = 'USD' then param_value end) as value_usd,
    cast(coalesce(item_quantity, {{ sum_of_field('items', 'quantity') }}) as bigint) as item_quantity,
    items,
    device_category,
    operating_system,
    browser,
    country,
    case
        when synthetic_bundle = 1 then 'synthetic'
        when traffic_type = 'internal' then 'internal'
        {% for hostname in var('excluded_hostnames') %}
            when page_hostname = '{{ hostname }}' then 'internal'
        {% endfor %}
    end as exclusion_reason
from derived
