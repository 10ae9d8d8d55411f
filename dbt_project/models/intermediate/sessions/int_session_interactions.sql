{{ config(
    materialized='incremental',
    incremental_predicates=[is_touched_session_date()],
) }}

-- depends_on: {{ ref('int_touched_session_dates') }}
-- Whether a page or product is seen for the first time follows from the events before it alone, and sums: so the
-- different ones up to any decision point are a plain count, several times cheaper than counting distinct values anew.
with interactions as (
    select
        event_key,
        session_id,
        session_date,
        interaction_number,
        event_at,
        event_name,
        page_path,
        case when event_name in ('page_view', 'screen_view') then page_path end as viewed_page,
        case when event_name = 'view_item' then item_id end as viewed_product,
        case when event_name = 'view_item' then item_category end as viewed_category,
        case when event_name = 'view_item' then item_price_usd end as viewed_price_usd,
        case when event_name = 'add_to_cart' then value_usd end as cart_value_usd,
        case when interaction_number > 1 then seconds_since_previous_event end as gap_seconds,
        percent_scrolled,
        engagement_msec
    from {{ session_events() }} as events
    where interaction_number is not null
),

-- one event views a page or a product, never both
views as (
    select {{ earliest('event_key', 'interaction_number') }} as event_key
    from interactions
    where viewed_page is not null or viewed_product is not null
    group by session_id, viewed_page, viewed_product
),

categories as (
    select {{ earliest('event_key', 'interaction_number') }} as event_key
    from interactions
    where viewed_category is not null
    group by session_id, viewed_category
)

select
    interactions.session_id,
    interactions.session_date,
    interactions.interaction_number,
    interactions.event_at,
    interactions.event_name,
    {{ page_section('interactions.page_path') }} as page_section,
    {{ regex_full_match("lower(coalesce(interactions.page_path, ''))", var('confirmation_page_pattern')) }}
    or interactions.event_name in ('purchase', 'in_app_purchase') as is_purchase_or_confirmation,
    interactions.viewed_page is not null and views.event_key is not null as is_new_page,
    interactions.viewed_product is not null and views.event_key is null as is_repeated_product,
    categories.event_key is not null as is_new_category,
    interactions.viewed_price_usd,
    interactions.cart_value_usd,
    interactions.gap_seconds,
    interactions.percent_scrolled,
    interactions.engagement_msec
from interactions
left join views on interactions.event_key = views.event_key
left join categories on interactions.event_key = categories.event_key
