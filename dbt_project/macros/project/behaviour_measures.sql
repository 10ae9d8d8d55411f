{#- What is measured of a session's interactions, up to a decision point or up to its purchase. The SQL of
    `int_session_points` and the columns of both feature tables are written from this list, in this order. Of what: a
    column of `int_ordered_events` (or gap_seconds, page_section), of the named events alone. Kinds: count (of
    interactions), distinct (values seen for the first time), repeated (values seen before), sum, mean, max, last,
    elapsed (time since the first interaction). `none`: what to give where there is no value. `unit`: usd adds up
    exactly, msec gives seconds. `late`: shows progress through the funnel, so only whole sessions have it; only
    decision points have the kind `last`. -#}
{% macro behaviour_measures() -%}
    {{ return([
        {'name': 'event_count', 'kind': 'count'},
        {'name': 'page_views', 'kind': 'count', 'events': ['page_view', 'screen_view']},
        {'name': 'distinct_pages', 'kind': 'distinct', 'of': 'page_path', 'events': ['page_view', 'screen_view']},
        {'name': 'product_views', 'kind': 'count', 'events': ['view_item']},
        {'name': 'repeat_product_views', 'kind': 'repeated', 'of': 'item_id', 'events': ['view_item']},
        {'name': 'distinct_categories', 'kind': 'distinct', 'of': 'item_category', 'events': ['view_item']},
        {'name': 'avg_viewed_price_usd', 'kind': 'mean', 'of': 'item_price_usd', 'events': ['view_item'], 'unit': 'usd'},
        {'name': 'item_list_views', 'kind': 'count', 'events': ['view_item_list']},
        {'name': 'item_selects', 'kind': 'count', 'events': ['select_item']},
        {'name': 'searches', 'kind': 'count', 'events': ['view_search_results']},
        {'name': 'promotion_views', 'kind': 'count', 'events': ['view_promotion']},
        {'name': 'promotion_selects', 'kind': 'count', 'events': ['select_promotion']},
        {'name': 'wishlist_adds', 'kind': 'count', 'events': ['add_to_wishlist']},
        {'name': 'scrolls', 'kind': 'count', 'events': ['scroll']},
        {'name': 'max_scroll_percent', 'kind': 'max', 'of': 'percent_scrolled', 'none': 0},
        {'name': 'clicks', 'kind': 'count', 'events': ['click']},
        {'name': 'elapsed_seconds', 'kind': 'elapsed'},
        {'name': 'engagement_seconds', 'kind': 'sum', 'of': 'engagement_msec', 'unit': 'msec', 'none': 0},
        {'name': 'max_gap_seconds', 'kind': 'max', 'of': 'gap_seconds'},
        {'name': 'last_event_name', 'kind': 'last', 'of': 'event_name'},
        {'name': 'last_page_section', 'kind': 'last', 'of': 'page_section'},
        {'name': 'last_gap_seconds', 'kind': 'last', 'of': 'gap_seconds'},
        {'name': 'add_to_carts', 'kind': 'count', 'events': ['add_to_cart'], 'late': true},
        {'name': 'remove_from_carts', 'kind': 'count', 'events': ['remove_from_cart'], 'late': true},
        {'name': 'cart_views', 'kind': 'count', 'events': ['view_cart'], 'late': true},
        {
            'name': 'cart_value_usd', 'kind': 'sum', 'of': 'value_usd', 'events': ['add_to_cart'], 'unit': 'usd',
            'none': 0, 'late': true
        },
        {'name': 'begin_checkouts', 'kind': 'count', 'events': ['begin_checkout'], 'late': true},
        {'name': 'add_shipping_infos', 'kind': 'count', 'events': ['add_shipping_info'], 'late': true},
        {'name': 'add_payment_infos', 'kind': 'count', 'events': ['add_payment_info'], 'late': true}
    ]) }}
{%- endmacro %}

{#- With one of these, or with what ends a session's behaviour, a session is no longer at risk: the cart is there. -#}
{% macro risk_ending_events() -%}
    {{ return(['add_to_cart', 'begin_checkout', 'add_shipping_info', 'add_payment_info']) }}
{%- endmacro %}
