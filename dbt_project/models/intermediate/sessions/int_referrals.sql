{{ config(
    materialized='incremental',
    incremental_predicates=[is_touched_event_date()],
) }}

-- Which sites are named as referrers of which host, by a page, by its params or by GA4's last click.
with named as (
    select
        event_date,
        page_hostname,
        lower(external_referrer) as referrer,
        case when event_medium = 'referral' then lower(event_source) end as event_source,
        case when last_click_medium = 'referral' then lower(last_click_source) end as last_click_source
    from {{ ref('stg_ga4__events_parsed') }}
    where
        (external_referrer is not null or event_medium = 'referral' or last_click_medium = 'referral')
        {% if is_incremental() %}
            and {{ is_touched_event_date() }}
        {% endif %}
    group by 1, 2, 3, 4, 5
)

select
    event_date,
    page_hostname,
    referrer
from named
where referrer is not null
union distinct
select
    event_date,
    page_hostname,
    event_source as referrer
from named
where event_source is not null
union distinct
select
    event_date,
    page_hostname,
    last_click_source as referrer
from named
where last_click_source is not null
