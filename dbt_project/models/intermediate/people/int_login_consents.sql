{{ config(
    materialized='incremental',
    incremental_predicates=[is_touched_event_date()],
    pre_hook="{{ remember_previous('ops.previous_login_consents', this, is_touched_event_date(), columns=['user_id']) }}",
) }}

-- Who refuses analytics is exported without a device, and so without a session, but with the login where there is one:
-- what such events say is a person's word all the same.
select
    event_date,
    user_id,
    {{ consent_moments(timestamp_from_micros('event_timestamp'), 'is_background') }}
from {{ ref('stg_ga4__events') }}
where
    user_pseudo_id is null
    and user_id is not null
    and (has_analytics_consent is not null or has_ads_consent is not null)
    {% if is_incremental() %}
        and {{ is_touched_event_date() }}
    {% endif %}
group by event_date, user_id
