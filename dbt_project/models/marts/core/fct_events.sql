{{ config(
    materialized='incremental',
    incremental_strategy='replace_dates',
    incremental_predicates=[is_touched_session_date()],
    on_schema_change='fail',
) }}

-- depends_on: {{ ref('int_touched_session_dates') }}
with sourced as (
    select
        events.*,
        sessions.session_date,
        -- one tuple from one event (rule 8): UTMs of the event, else what GA4 put into its params
        case
            when coalesce(events.collected_source, events.collected_medium, events.collected_campaign) is not null
                then 'collected'
            when
                coalesce(events.param_source, events.param_medium, events.param_campaign) is not null
                and not (events.is_referrer_ignored and coalesce(events.param_medium, '') = 'referral')
                then 'params'
        end as tuple_origin
    from {{ ref('int_events') }} as events
    inner join {{ ref('int_touched_sessions') }} as sessions on events.session_key = sessions.session_id
    {% if is_incremental() %}
        where
            events.event_date >= (select min(session_date) from {{ ref('int_touched_sessions') }})
            and events.event_date <= (select max(last_event_date) from {{ ref('int_touched_sessions') }})
    {% endif %}
),

tuples as (
    select
        *,
        case tuple_origin when 'collected' then collected_source when 'params' then param_source end as tuple_source,
        lower(case tuple_origin when 'collected' then collected_medium when 'params' then param_medium end)
            as tuple_medium,
        case tuple_origin when 'collected' then collected_campaign when 'params' then param_campaign end
            as tuple_campaign
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
    {{ event_id('event_date', 'event_hash') }} as event_id,
    session_key as session_id,
    session_date,
    event_date,
    event_at,
    event_name,
    cast(row_number() over (partition by session_key order by {{ event_order() }}) as bigint) as event_number,
    case
        when event_name not in ('session_start', 'first_visit')
            then cast(sum(case when event_name in ('session_start', 'first_visit') then 0 else 1 end) over (
                partition by session_key order by {{ event_order() }}
                rows between unbounded preceding and current row
            ) as bigint)
    end as interaction_number,
    {{ seconds_between(
        "lag(event_at) over (partition by session_key order by " ~ event_order() ~ ")", 'event_at'
    ) }} as seconds_since_previous_event,
    stream_id,
    user_pseudo_id,
    user_id,
    ga_session_id,
    ga_session_number,
    platform,
    page_location,
    page_path,
    page_title,
    case when not is_referrer_ignored and referrer_hostname != page_hostname then referrer_hostname end
        as external_referrer,
    -- the time GA4 sends with a page_view was spent on the page before it (rule 12)
    case
        when event_name = 'page_view'
            then lag(page_path) over (partition by session_key order by {{ event_order() }})
        else page_path
    end as engagement_page_path,
    engagement_msec,
    session_engaged,
    percent_scrolled,
    search_term,
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
    -- one tuple from one event, never mixed (rule 8)
    case when not is_click_id_decisive then tuple_campaign end as event_campaign,
    tuple_origin is not null or is_click_id_decisive as has_event_source,
    has_last_click,
    last_click_source,
    last_click_medium,
    last_click_campaign,
    transaction_id,
    purchase_revenue_usd,
    refund_value_usd,
    value_usd,
    item_quantity,
    {{ first_item('items', 'item_id') }} as item_id,
    {{ first_item('items', 'item_category') }} as item_category,
    {{ first_item('items', 'price_usd') }} as item_price_usd,
    items,
    device_category,
    operating_system,
    browser,
    country
from paid
