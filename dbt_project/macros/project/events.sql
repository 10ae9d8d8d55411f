{#- The events in their order, with what they carry: `parsed` rows, and their `placed` keys. -#}
{% macro ordered_events(parsed, placed) -%}
    select
        parsed.event_key,
        {{ event_id('parsed.event_date', 'parsed.event_hash') }} as event_id,
        placed.session_id,
        placed.session_no,
        placed.session_date,
        parsed.event_date,
        {{ timestamp_from_micros('parsed.event_timestamp') }} as event_at,
        parsed.event_name,
        placed.event_number,
        placed.interaction_number,
        placed.is_background,
        placed.seconds_since_previous_event,
        parsed.stream_id,
        parsed.user_pseudo_id,
        parsed.user_id,
        parsed.has_analytics_consent,
        parsed.has_ads_consent,
        parsed.ga_session_id,
        parsed.ga_session_number,
        parsed.platform,
        parsed.page_location,
        parsed.page_path,
        parsed.page_title,
        parsed.page_hostname,
        parsed.external_referrer,
        placed.engagement_page_path,
        parsed.engagement_msec,
        parsed.session_engaged,
        parsed.percent_scrolled,
        parsed.search_term,
        parsed.event_source,
        parsed.event_medium,
        parsed.event_campaign,
        parsed.event_campaign_content,
        parsed.event_campaign_term,
        parsed.event_campaign_id,
        parsed.has_event_source,
        parsed.has_last_click,
        parsed.last_click_source,
        parsed.last_click_medium,
        parsed.last_click_campaign,
        parsed.last_click_campaign_content,
        parsed.last_click_campaign_term,
        parsed.last_click_campaign_id,
        parsed.last_click_channel_group,
        parsed.transaction_id,
        parsed.purchase_revenue_usd,
        parsed.refund_value_usd,
        parsed.value_usd,
        parsed.item_quantity,
        {{ first_item('parsed.items', 'item_id') }} as item_id,
        {{ first_item('parsed.items', 'item_category') }} as item_category,
        {{ first_item('parsed.items', 'price_usd') }} as item_price_usd,
        parsed.items,
        parsed.device_category,
        parsed.operating_system,
        parsed.operating_system_version,
        parsed.browser,
        parsed.browser_version,
        parsed.language,
        parsed.release,
        parsed.payment_type,
        parsed.shipping_tier,
        parsed.country,
        parsed.region,
        parsed.city
    from {{ parsed }} as parsed
    inner join {{ placed }} as placed on parsed.event_key = placed.event_key
{%- endmacro %}

{#- The places of the events of the session dates to rewrite. -#}
{% macro touched_event_order() -%}
    (
        select event_order.*
        from intermediate.int_event_order as event_order
        inner join intermediate.int_touched_session_dates as touched
            on event_order.session_date = touched.session_date
    )
{%- endmacro %}

{#- `int_ordered_events`, in an incremental build only those of the session dates to rewrite: their keys are chosen
    before the join, so that only the days concerned are read. A predicate on the view comes too late for that, and the
    size of what a join with the dates leaves can be estimated, unlike that of a subquery's. -#}
{% macro session_events() -%}
    {%- if is_incremental() -%}
        (
            {{ ordered_events('staging.stg_ga4__events_parsed', touched_event_order()) }}
        )
    {%- else -%}
        {{ ref('int_ordered_events') }}
    {%- endif -%}
{%- endmacro %}
