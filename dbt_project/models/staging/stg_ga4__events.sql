{{ config(materialized='view') }}

select
    parsed.event_date,
    parsed.lake_file,
    parsed.lake_row,
    parsed.event_hash,
    parsed.event_timestamp,
    parsed.event_at,
    parsed.event_name,
    parsed.user_pseudo_id,
    parsed.user_id,
    parsed.stream_id,
    parsed.platform,
    parsed.ga_session_id,
    parsed.ga_session_number,
    parsed.session_id,
    parsed.batch_page_id,
    parsed.batch_ordering_id,
    parsed.batch_event_index,
    parsed.page_location,
    parsed.page_path,
    parsed.page_title,
    parsed.page_referrer,
    parsed.referrer_hostname,
    parsed.page_hostname,
    parsed.is_referrer_ignored,
    parsed.session_engaged,
    parsed.engagement_msec,
    parsed.percent_scrolled,
    parsed.search_term,
    parsed.param_source,
    parsed.param_medium,
    parsed.param_campaign,
    parsed.collected_source,
    parsed.collected_medium,
    parsed.collected_campaign,
    parsed.click_id_type,
    parsed.has_last_click,
    parsed.last_click_source,
    parsed.last_click_medium,
    parsed.last_click_campaign,
    parsed.transaction_id,
    parsed.currency,
    parsed.purchase_revenue_usd,
    parsed.refund_value_usd,
    parsed.value_usd,
    parsed.item_quantity,
    parsed.items,
    parsed.device_category,
    parsed.operating_system,
    parsed.browser,
    parsed.country
from {{ ref('stg_ga4__events_parsed') }} as parsed
left join {{ ref('stg_ga4__event_duplicates') }} as duplicates
    on
        parsed.event_date = duplicates.event_date
        and parsed.lake_file = duplicates.lake_file
        and parsed.lake_row = duplicates.lake_row
where
    parsed.exclusion_reason is null
    and duplicates.lake_row is null
