{{ config(materialized='view', pre_hook="{{ add_custom_columns(model) }}") }}

select
    events.event_id,
    events.session_id,
    events.session_date,
    events.event_date,
    events.event_at,
    events.event_name,
    events.event_number,
    events.interaction_number,
    events.seconds_since_previous_event,
    events.stream_id,
    events.user_pseudo_id,
    events.user_id,
    events.ga_session_id,
    events.ga_session_number,
    events.platform,
    events.page_location,
    events.page_path,
    events.page_title,
    case when own.referrer is null then events.external_referrer end as external_referrer,
    events.engagement_page_path,
    events.engagement_msec,
    events.session_engaged,
    events.percent_scrolled,
    events.search_term,
    events.event_source,
    events.event_medium,
    events.event_campaign,
    events.has_event_source,
    events.has_last_click,
    events.last_click_source,
    events.last_click_medium,
    events.last_click_campaign,
    events.last_click_channel_group,
    events.transaction_id,
    events.purchase_revenue_usd,
    events.refund_value_usd,
    events.value_usd,
    events.item_quantity,
    events.item_id,
    events.item_category,
    events.item_price_usd,
    events.items,
    events.device_category,
    events.operating_system,
    events.browser,
    events.country
    {{- select_custom('fct_events', 'parameters') }}
from {{ ref('int_ordered_events') }} as events
-- the shop itself and payment providers send nobody (rule 33)
left join {{ ref('int_own_referrers') }} as own
    on lower(events.external_referrer) = own.referrer and events.page_hostname = own.page_hostname
{% if custom_columns('fct_events') %}
    left join {{ ref('stg_ga4__custom_parameters') }} as parameters on events.event_key = parameters.event_key
{% endif %}
