{{ config(
    materialized='incremental',
    incremental_predicates=[is_touched_session_date()],
) }}

-- depends_on: {{ ref('int_touched_session_dates') }}
-- Whether a page or product is seen for the first time follows from the events before it alone, and sums: so the
-- different ones up to any decision point are a plain count, several times cheaper than counting distinct values anew.
with interactions as (
    select
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

pages as (
    select
        session_id,
        viewed_page,
        min(interaction_number) as interaction_number
    from interactions
    where viewed_page is not null
    group by session_id, viewed_page
),

products as (
    select
        session_id,
        viewed_product,
        min(interaction_number) as interaction_number
    from interactions
    where viewed_product is not null
    group by session_id, viewed_product
),

categories as (
    select
        session_id,
        viewed_category,
        min(interaction_number) as interaction_number
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
    pages.session_id is not null as is_new_page,
    interactions.viewed_product is not null and products.session_id is null as is_repeated_product,
    categories.session_id is not null as is_new_category,
    interactions.viewed_price_usd,
    interactions.cart_value_usd,
    interactions.gap_seconds,
    interactions.percent_scrolled,
    interactions.engagement_msec
from interactions
left join pages
    on interactions.session_id = pages.session_id and interactions.interaction_number = pages.interaction_number
left join products
    on interactions.session_id = products.session_id and interactions.interaction_number = products.interaction_number
left join categories
    on
        interactions.session_id = categories.session_id
        and interactions.interaction_number = categories.interaction_number
