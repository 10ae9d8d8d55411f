{{ config(
    materialized='incremental',
    incremental_predicates=[is_touched_session_event_date()],
) }}

-- depends_on: {{ ref('int_touched_event_dates') }}
-- Only visitors can convert: a cookieless purchase counts as an event and as nothing else (rule 11). A refund needs no
-- visitor: it belongs to its transaction.
select
    {{ event_id('event_date', 'event_hash') }} as event_id,
    event_date,
    event_at,
    event_timestamp,
    batch_page_id,
    batch_ordering_id,
    batch_event_index,
    event_hash,
    event_name,
    session_key as session_id,
    user_pseudo_id,
    transaction_id,
    purchase_revenue_usd,
    refund_value_usd,
    item_quantity
from {{ ref('int_events') }}
where
    event_name in ('purchase', 'refund')
    and (event_name = 'refund' or user_pseudo_id is not null)
    {% if is_incremental() %}
        and {{ is_touched_session_event_date() }}
    {% endif %}
