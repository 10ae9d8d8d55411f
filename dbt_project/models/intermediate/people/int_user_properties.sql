{{ config(
    materialized='incremental',
    incremental_predicates=[is_touched_user()],
) }}

-- depends_on: {{ ref('int_touched_users') }} {{ ref('int_session_properties') }}
select sessions.user_key{{ last_user_properties() }}
from {{ ref('int_session_facts') }} as sessions
inner join {{ ref('int_session_properties') }} as properties on sessions.session_id = properties.session_id
{% if is_incremental() %}
    where {{ is_touched_user('sessions.user_key') }}
{% endif %}
group by sessions.user_key
