// SPDX-License-Identifier: Apache-2.0
// OHIF 3.13.2 reads this at its start. Everything comes from this origin.
window.config = {
  name: "clarivox",
  routerBasename: null,
  showStudyList: true,
  showLoadingIndicator: true,
  showWarningMessageForCrossOrigin: false,
  investigationalUseDialog: { option: "never" },
  extensions: ["/app/assets/ohif.js"],
  modes: [],
  customizationService: ["clarivox.customizationModule.labels", { "ohif.tours": { $set: [] } }],
  modesConfiguration: {
    "@ohif/mode-longitudinal": {
      displayName: { $set: "Viewer" },
      routes: {
        0: {
          layoutInstance: {
            props: {
              rightPanels: { $unshift: ["clarivox.panelModule.enhance"] },
              rightPanelClosed: { $set: false },
            },
          },
        },
      },
    },
  },
  defaultDataSourceName: "clarivox",
  dataSources: [
    {
      namespace: "@ohif/extension-default.dataSourcesModule.dicomweb",
      sourceName: "clarivox",
      configuration: {
        friendlyName: "clarivox",
        name: "clarivox",
        qidoRoot: "/dicom-web",
        wadoRoot: "/dicom-web",
        wadoUriRoot: "/dicom-web",
        qidoSupportsIncludeField: false,
        imageRendering: "wadors",
        thumbnailRendering: "wadors",
        enableStudyLazyLoad: true,
        supportsFuzzyMatching: false,
        supportsWildcard: true,
        supportsStow: false,
        omitQuotationForMultipartRequest: true,
        bulkDataURI: { enabled: true },
      },
    },
  ],
};
