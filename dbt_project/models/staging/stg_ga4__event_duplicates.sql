{{ config(
    materialized='incremental',
    incremental_predicates=[is_touched_event_date()],
) }}

-- Duplicates are rare: find the identities that occur twice first, then order only their rows.
with repeated as (
    select
        event_timestamp,
        event_hash
    from {{ ref('stg_ga4__events_parsed') }}
    where
        exclusion_reason is null
        {% if is_incremental() %}
            and {{ is_touched_event_date() }}
        {% endif %}
    group by event_timestamp, event_hash
    having count(*) > 1
),

copies as (
    select
        parsed.event_date,
        parsed.event_key,
        row_number() over (
            partition by parsed.event_date, parsed.event_timestamp, parsed.event_name, parsed.event_hash
            -- which copy stays must not depend on where it lay: its content decides, its place only between equals
            order by
                parsed.batch_page_id nulls last,
                parsed.batch_ordering_id nulls last,
                parsed.batch_event_index nulls last,
                -- a No is not undone by a copy that says Yes
                parsed.has_ads_consent nulls last,
                parsed.has_analytics_consent nulls last,
                {{ hash_of([
                    'parsed.user_id', 'parsed.ga_session_number', 'parsed.page_location', 'parsed.page_title',
                    'parsed.event_source', 'parsed.event_medium', 'parsed.event_campaign',
                    'parsed.has_last_click', 'parsed.last_click_source', 'parsed.last_click_medium',
                    'parsed.event_campaign_content', 'parsed.event_campaign_term', 'parsed.event_campaign_id',
                    'parsed.last_click_campaign', 'parsed.last_click_campaign_content',
                    'parsed.last_click_campaign_term', 'parsed.last_click_campaign_id',
                    'parsed.external_referrer', 'parsed.transaction_id',
                    'parsed.purchase_revenue_usd', 'parsed.refund_value_usd', 'parsed.value_usd',
                    'parsed.item_quantity', 'parsed.items', 'parsed.device_category', 'parsed.operating_system',
                    'parsed.operating_system_version', 'parsed.browser', 'parsed.browser_version', 'parsed.language',
                    'parsed.release', 'parsed.country', 'parsed.region', 'parsed.city', 'parsed.platform'
                ]) }},
                parsed.event_key
        ) as copy_number
    from {{ ref('stg_ga4__events_parsed') }} as parsed
    inner join repeated
        on
            parsed.event_timestamp = repeated.event_timestamp
            and parsed.event_hash = repeated.event_hash
    where
        parsed.exclusion_reason is null
        {% if is_incremental() %}
            and {{ is_touched_event_date('parsed.event_date') }}
        {% endif %}
)

select
    event_date,
    event_key
from copies
where copy_number > 1
