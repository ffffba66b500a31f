"""The names of bert4keras 0.11.5: which mean the same here, which mean something else, which are not available.

This is a table for `nlptasks bert4keras check`, and needs neither Keras nor NumPy. A name that is not in `OTHER` or
`MISSING` is the same.
"""

NAMES: dict[str, str] = {
    "backend": "K Sinusoidal align apply_rotary_position_embeddings attention_normalize batch_gather custom_objects "
    "divisible_temporal_padding do_recompute dtype flatten gelu_erf gelu_tanh get_available_gpus graph_mode_decorator "
    "is_tf_keras keras leaky_relu multilabel_categorical_crossentropy piecewise_linear pool1d recompute_grad reshape "
    "root_mean_square search_layer sequence_masking set_gelu sinusoidal_embeddings "
    "sparse_multilabel_categorical_crossentropy swish symbolic tf where",
    "layers": "BatchConcat BatchSplit Concatenate1D ConditionalRandomField EfficientGlobalPointer Embedding "
    "FeedForward GatedAttentionUnit GlobalAveragePooling1D GlobalMaxPooling1D GlobalPointer Layer LayerNormalization "
    "Loss MaximumEntropyMarkovModel MultiHeadAttention PositionEmbedding RelativePositionEmbedding "
    "RelativePositionEmbeddingT5 ScaleOffset SinusoidalPositionEmbedding custom_objects integerize_shape",
    "models": "ALBERT ALBERT_Unshared BERT ELECTRA GPT GPT2 GPT2_ML LM_Mask NEZHA RoFormer RoFormerV2 T5 T5_Base "
    "T5_Decoder T5_Encoder Transformer UniLM_Mask build_transformer_model custom_objects data_parallel "
    "extend_with_language_model "
    "extend_with_unified_language_model",
    "tokenizers": "SpTokenizer Tokenizer TokenizerBase load_vocab save_vocab",
    "snippets": "AutoRegressiveDecoder DataGenerator ViterbiDecoder WebServing basestring convert_to_str "
    "convert_to_unicode delete_arguments insert_arguments is_one_of is_py2 is_string longest_common_subsequence "
    "longest_common_substring lowercase_and_normalize open orthogonally_resize parallel_apply parallel_apply_generator "
    "sequence_padding softmax strQ2B string_matching text_segmentate to_array truncate_sequences uniout",
    "optimizers": "AdaFactor AdaFactorBase AdaFactorV1 AdaFactorV2 Adam Lion LionV2 custom_objects "
    "export_to_custom_objects extend_with_exponential_moving_average extend_with_exponential_moving_average_v2 "
    "extend_with_gradient_accumulation extend_with_gradient_accumulation_v2 extend_with_layer_adaptation "
    "extend_with_layer_adaptation_v2 extend_with_lazy_optimization extend_with_lazy_optimization_v2 "
    "extend_with_lookahead extend_with_lookahead_v2 extend_with_parameter_wise_lr extend_with_parameter_wise_lr_v2 "
    "extend_with_piecewise_linear_lr extend_with_piecewise_linear_lr_v2 extend_with_weight_decay "
    "extend_with_weight_decay_v2 rms",
}
"""module -> its public names"""
OTHER: dict[str, str] = {
    "snippets.WebServing": "served by Python's standard library; `server=` is not read",
    "snippets.open": "reads UTF-8 unless an encoding is given, whatever the system's language is",
    "optimizers.AdaFactorV1": "the same class as AdaFactor",
    "optimizers.AdaFactorV2": "the same class as AdaFactor",
    "optimizers.extend_with_lookahead": "slow weights start as the weights (there: as zeros)",
    "optimizers.extend_with_gradient_accumulation": "schedules count updates (there: batches)",
    "backend.get_available_gpus": "names as keras.distribution lists them",
    "models.data_parallel": "one device; several: keras.distribution, or tf.distribute around the model's making",
    "backend.recompute_grad": "changes nothing; nlptasks.build_transformer_model(recompute=True) recomputes",
    "K.function": "computes outputs of a functional model; `updates` are not taken",
    "K.gradients": "TensorFlow only, inside a layer's call",
    "K.learning_phase": "whether the call that is running is one of training",
}
"""`module.name` -> what is different"""
_KERAS_2 = "a training step of Keras 2's graph: override train_step of keras.models.Model (docs/from_bert4keras.md)"
MISSING: dict[str, str] = {
    "backend.graph_mode_decorator": "keras.ops.custom_gradient gives a function a gradient of its own",
    "K.get_session": "Keras 3 has no sessions: leave it out",
    "K.set_session": "Keras 3 has no sessions: leave it out",
    "K.placeholder": "keras.layers.Input",
    "K.set_learning_phase": "call the model with training=True",
}
"""`module.name` -> what to write instead"""
ATTRIBUTES: dict[str, str] = {
    "_make_train_function": _KERAS_2,
    "total_loss": _KERAS_2,
    "_feed_inputs": _KERAS_2,
    "_feed_targets": _KERAS_2,
    "_feed_sample_weights": _KERAS_2,
    "metrics_tensors": "Loss.add_metric(value, name=...)",
    "get_updates": "override update_step(gradient, variable, learning_rate)",
}
"""attributes of Keras 2 that a script may use, and what to write instead"""
