{{ config(tags=['scores']) }}

select
    sessions.session_id,
    predictions.propensity_full,
    predictions.propensity_full_version,
    predictions.propensity_precheckout,
    predictions.propensity_precheckout_version,
    predictions.precheckout_decision_point,
    predictions.segment_id,
    predictions.segment_name,
    predictions.segments_version,
    predictions.scored_at
from {{ ref('int_session_facts') }} as sessions
left join {{ source('predictions', 'session_predictions') }} as predictions
    on sessions.session_id = predictions.session_id
