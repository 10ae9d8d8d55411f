{{ config(
    materialized='incremental',
    incremental_predicates=[is_touched_user()],
    on_schema_change='fail',
) }}

-- depends_on: {{ ref('int_touched_users') }}
select
    user_pseudo_id,
    user_key,
    {{ earliest('device_category', 'session_number') }} as device_category,
    min(session_date) as first_session_date,
    max(session_date) as last_session_date,
    count(*) as sessions,
    {{ count_where('user_id is not null') }} as logged_in_sessions,
    {{ count_where('has_purchase') }} as purchase_sessions
from {{ ref('int_session_facts') }}
{% if is_incremental() %}
    where {{ is_touched_user() }}
{% endif %}
group by user_pseudo_id, user_key
